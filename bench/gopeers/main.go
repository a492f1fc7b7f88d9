// Command quicrpc-gopeers serves echo.Echo with other people's transports, to be measured beside quicrpc.
//
// It prints a line with the address it listens on, and serves until it is killed.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/quic-go/quic-go/http3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

func main() {
	kind := flag.String("kind", "quic-go", "quic-go (HTTP/3), nethttp (HTTP/2) or grpc-go (HTTP/2)")
	address := flag.String("a", "127.0.0.1:0", "`host:port` to listen on")
	certificate := flag.String("cert", "", "PEM `file` with the certificate chain")
	key := flag.String("key", "", "PEM `file` with the private key")
	flag.Parse()
	if err := serve(*kind, *address, *certificate, *key); err != nil {
		fmt.Fprintln(os.Stderr, "quicrpc-gopeers:", err)
		os.Exit(1)
	}
}

func serve(kind, address, certificateFile, keyFile string) error {
	certificate, err := tls.LoadX509KeyPair(certificateFile, keyFile)
	if err != nil {
		return err
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}
	switch kind {
	case "quic-go":
		socket, err := net.ListenPacket("udp", address)
		if err != nil {
			return err
		}
		fmt.Println("listening on", socket.LocalAddr())
		server := &http3.Server{TLSConfig: http3.ConfigureTLSConfig(config), Handler: http.HandlerFunc(echoHTTP)}
		return server.Serve(socket)
	case "nethttp":
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		fmt.Println("listening on", listener.Addr())
		server := &http.Server{TLSConfig: config, Handler: http.HandlerFunc(echoHTTP)}
		return server.ServeTLS(listener, "", "")
	case "grpc-go":
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		fmt.Println("listening on", listener.Addr())
		server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
		server.RegisterService(&echoService, nil)
		return server.Serve(listener)
	default:
		return fmt.Errorf("unknown kind %q", kind)
	}
}
