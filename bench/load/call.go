package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// caller makes calls of one kind, one after the other. It is used by one goroutine.
type caller struct {
	plan   *plan
	reader *messageReader
}

// plan is what all calls of a run have in common.
type plan struct {
	url      *url.URL
	header   http.Header
	body     []byte
	frame    []byte
	messages int
	kind     kind
}

// kind is one of the shapes of a call.
type kind struct {
	method string
	// do makes one call. It passes observe the start of each sample that is not the call itself.
	do func(c *caller, ctx context.Context, conn http.RoundTripper, observe func(start time.Time)) error
	// perMessage: a sample is a message's round trip, else a whole call.
	perMessage bool
	// sends and receives tell whether each direction carries plan.messages messages, or one.
	sends, receives bool
}

var kinds = map[string]kind{
	"unary":     {method: "Unary", do: (*caller).unary},
	"stream":    {method: "Stream", do: (*caller).stream, receives: true},
	"collect":   {method: "Collect", do: (*caller).collect, sends: true},
	"bidi":      {method: "Bidi", do: (*caller).pingPong, perMessage: true, sends: true, receives: true},
	"pipelined": {method: "Bidi", do: (*caller).pipelined, sends: true, receives: true},
}

func kindNames() []string { return slices.Sorted(maps.Keys(kinds)) }

func newPlan(o options) (*plan, error) {
	k, known := kinds[o.kind]
	if !known {
		return nil, fmt.Errorf("kind %q is none of %s", o.kind, strings.Join(kindNames(), ", "))
	}
	if o.rate > 0 && k.perMessage {
		return nil, fmt.Errorf("-rate starts calls, but %s measures messages", o.kind)
	}
	header := o.metadata.Clone()
	header.Set("content-type", "application/grpc")
	header.Set("te", "trailers")
	header.Set("user-agent", "grpc-go-quicrpc-load/1")
	if o.timeout != "" {
		header.Set("grpc-timeout", o.timeout)
	}
	if !k.sends && !k.receives {
		o.messages = 1
	}
	message := echoMessage{body: bytes.Repeat([]byte{'x'}, o.body)}
	if k.method == "Stream" {
		message.count = uint64(o.messages)
	}
	return &plan{
		url:      &url.URL{Scheme: "https", Host: o.address, Path: "/echo.Echo/" + k.method},
		header:   header,
		body:     message.body,
		frame:    message.frame(),
		messages: o.messages,
		kind:     k,
	}, nil
}

func (c *caller) unary(ctx context.Context, conn http.RoundTripper, _ func(time.Time)) error {
	return c.exchange(ctx, conn, &repeatedFrame{frame: c.plan.frame, left: 1}, func() error { return c.reader.expectBody(c.plan.body) })
}

func (c *caller) stream(ctx context.Context, conn http.RoundTripper, _ func(time.Time)) error {
	return c.exchange(ctx, conn, &repeatedFrame{frame: c.plan.frame, left: 1}, c.expectAll)
}

func (c *caller) pipelined(ctx context.Context, conn http.RoundTripper, _ func(time.Time)) error {
	return c.exchange(ctx, conn, &repeatedFrame{frame: c.plan.frame, left: c.plan.messages}, c.expectAll)
}

func (c *caller) collect(ctx context.Context, conn http.RoundTripper, _ func(time.Time)) error {
	return c.exchange(ctx, conn, &repeatedFrame{frame: c.plan.frame, left: c.plan.messages}, func() error {
		m, err := c.reader.next()
		if err != nil {
			return err
		}
		if m.count != uint64(c.plan.messages) || m.size != uint64(c.plan.messages*len(c.plan.body)) {
			return fmt.Errorf("server counted %d messages of %d bytes", m.count, m.size)
		}
		return nil
	})
}

func (c *caller) pingPong(ctx context.Context, conn http.RoundTripper, observe func(time.Time)) error {
	body := &turnFrame{frame: c.plan.frame, turns: make(chan struct{}, 1)}
	start := time.Now()
	body.turns <- struct{}{}
	defer body.finish()
	return c.exchange(ctx, conn, body, func() error {
		for i := 1; ; i++ {
			if err := c.reader.expectBody(c.plan.body); err != nil {
				return err
			}
			observe(start)
			if i == c.plan.messages {
				body.finish()
				return nil
			}
			start = time.Now()
			body.turns <- struct{}{}
		}
	})
}

func (c *caller) expectAll() error {
	for range c.plan.messages {
		if err := c.reader.expectBody(c.plan.body); err != nil {
			return err
		}
	}
	return nil
}

// exchange makes one HTTP exchange: the messages are read by receive, then the body must end with grpc-status 0.
func (c *caller) exchange(ctx context.Context, conn http.RoundTripper, body io.Reader, receive func() error) error {
	request := (&http.Request{
		Method: http.MethodPost,
		URL:    c.plan.url,
		Host:   c.plan.url.Host,
		Header: c.plan.header,
		Body:   io.NopCloser(body),
		// gRPC clients send no content-length.
		ContentLength: -1,
	}).WithContext(ctx)
	response, err := conn.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("content-type"), "application/grpc") {
		return fmt.Errorf("HTTP status %d, content-type %q", response.StatusCode, response.Header.Get("content-type"))
	}
	c.reader.reset(response.Body)
	if err := receive(); err != nil {
		return statusError(response, err)
	}
	if _, err := c.reader.next(); !errors.Is(err, io.EOF) {
		return statusError(response, fmt.Errorf("no end after the last message: %v", err))
	}
	return statusError(response, nil)
}

// statusError is nil only for grpc-status 0 without another error.
func statusError(response *http.Response, err error) error {
	for _, fields := range []http.Header{response.Trailer, response.Header} {
		if status := fields.Get("grpc-status"); status != "" && status != "0" {
			return fmt.Errorf("grpc-status %s: %s", status, fields.Get("grpc-message"))
		}
	}
	if err == nil && response.Trailer.Get("grpc-status") != "0" {
		return errors.New("no grpc-status in the trailers")
	}
	return err
}
