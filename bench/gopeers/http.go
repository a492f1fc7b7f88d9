package main

import (
	"bufio"
	"net/http"
	"path"
)

// httpStream is a call on Go's HTTP server interface, which quic-go's HTTP/3 server shares.
type httpStream struct {
	reader   *bufio.Reader
	response http.ResponseWriter
	// flush: the client waits for this message before it sends its next.
	flush bool
}

func (s *httpStream) receive() (echoMessage, error) { return readMessage(s.reader) }

func (s *httpStream) send(m echoMessage) error {
	if err := writeMessage(s.response, m); err != nil {
		return err
	}
	if s.flush {
		return http.NewResponseController(s.response).Flush()
	}
	return nil
}

func echoHTTP(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	method, known := methods[name]
	w.Header().Set("content-type", "application/grpc")
	if !known || path.Dir(r.URL.Path) != "/echo.Echo" {
		w.Header().Set("grpc-status", "12")
		return
	}
	w.Header().Set("trailer", "grpc-status")
	err := method(&httpStream{reader: bufio.NewReader(r.Body), response: w, flush: name == "Bidi"})
	status := "0"
	if err != nil {
		status = "13"
	}
	w.Header().Set("grpc-status", status)
}
