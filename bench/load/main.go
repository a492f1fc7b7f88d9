// Command quicrpc-load calls echo.Echo over HTTP/3 or HTTP/2 and prints one JSON line of what it saw.
//
// It is an outside client on purpose: quic-go and Go's HTTP/2 share no code with quicrpc. Every response is checked in full.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

// options is what the command line asks for.
type options struct {
	protocol   string
	address    string
	caFile     string
	insecure   bool
	serverName string
	kind       string
	body       int
	messages   int
	conns      int
	inFlight   int
	fresh      bool
	rate       float64
	warmUp     time.Duration
	duration   time.Duration
	grace      time.Duration
	pid        int
	timeout    string
	metadata   http.Header
	histogram  string
}

func main() {
	o := parseOptions()
	result, err := run(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "quicrpc-load:", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		fmt.Fprintln(os.Stderr, "quicrpc-load:", err)
		os.Exit(1)
	}
	if result.Errors > 0 {
		os.Exit(2)
	}
}

func parseOptions() options {
	o := options{metadata: http.Header{}}
	flag.StringVar(&o.protocol, "p", "h3", "transport: h3 or h2 (both over TLS)")
	flag.StringVar(&o.address, "a", "127.0.0.1:8443", "server `host:port`")
	flag.StringVar(&o.caFile, "ca", "", "PEM `file` of the authorities that may sign the server's certificate")
	flag.BoolVar(&o.insecure, "insecure", false, "do not verify the server's certificate")
	flag.StringVar(&o.serverName, "servername", "", "`name` in the server's certificate; default: the host called")
	flag.StringVar(&o.kind, "k", "unary", "kind of call: "+strings.Join(kindNames(), ", "))
	flag.IntVar(&o.body, "z", 32, "`bytes` in each message's body")
	flag.IntVar(&o.messages, "n", 1, "`messages` per streaming call")
	flag.IntVar(&o.conns, "c", 4, "`connections`")
	flag.IntVar(&o.inFlight, "s", 32, "`calls` in flight on each connection")
	flag.BoolVar(&o.fresh, "fresh", false, "make a new connection for every call")
	flag.Float64Var(&o.rate, "rate", 0, "open loop: start this many `calls/s` whatever the answers do; 0: closed loop")
	flag.DurationVar(&o.warmUp, "w", time.Second, "warm-up, not counted")
	flag.DurationVar(&o.duration, "d", 5*time.Second, "measured time")
	flag.DurationVar(&o.grace, "grace", 30*time.Second, "how long a call may outlast the measured time")
	flag.IntVar(&o.pid, "pid", 0, "server `process` whose CPU and memory are read from /proc")
	flag.StringVar(&o.timeout, "timeout", "", "grpc-timeout `value` such as 500m")
	flag.Func("H", "extra metadata `name: value`; may be repeated", func(text string) error {
		name, value, found := strings.Cut(text, ":")
		if !found {
			return fmt.Errorf("%q has no colon", text)
		}
		o.metadata.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		return nil
	})
	flag.StringVar(&o.histogram, "histogram", "", "write the latency histogram as JSON to this `file`")
	flag.Parse()
	return o
}
