package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
)

// connection carries calls over one connection of its own.
type connection interface {
	http.RoundTripper
	io.Closer
}

// dialer returns a function that makes connections; they are opened by their first call.
func dialer(o options) (func() connection, error) {
	config := &tls.Config{InsecureSkipVerify: o.insecure, ServerName: o.serverName, MinVersion: tls.VersionTLS13}
	if o.caFile != "" {
		pem, err := os.ReadFile(o.caFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", o.caFile)
		}
	}
	switch o.protocol {
	case "h3":
		return func() connection {
			return &http3.Transport{
				TLSClientConfig:    config.Clone(),
				QUICConfig:         &quic.Config{MaxIdleTimeout: 30 * time.Second},
				DisableCompression: true,
			}
		}, nil
	case "h2":
		return func() connection {
			// Strict: at the server's stream limit calls wait instead of opening a second connection.
			return http2Connection{&http2.Transport{
				TLSClientConfig:            config.Clone(),
				StrictMaxConcurrentStreams: true,
				DisableCompression:         true,
			}}
		}, nil
	default:
		return nil, fmt.Errorf("transport %q is neither h3 nor h2", o.protocol)
	}
}

type http2Connection struct{ *http2.Transport }

func (c http2Connection) Close() error {
	c.CloseIdleConnections()
	return nil
}
