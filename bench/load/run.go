package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// result is the line of JSON that is printed. Times are in microseconds unless the name says otherwise.
type result struct {
	Protocol      string  `json:"protocol"`
	Kind          string  `json:"kind"`
	Sample        string  `json:"sample"` // what the percentiles are of: "call" or "message" (round trip)
	Connections   int     `json:"connections"`
	InFlight      int     `json:"in_flight"` // per connection
	BodyBytes     int     `json:"body_bytes"`
	Messages      int     `json:"messages_per_call"`
	AskedRate     float64 `json:"asked_rate"` // calls/s; 0: closed loop
	Seconds       float64 `json:"seconds"`
	Calls         uint64  `json:"calls"` // good ones
	Rate          float64 `json:"rate"`  // good calls/s
	BytesSent     uint64  `json:"bytes_sent"`
	BytesReceived uint64  `json:"bytes_received"` // bodies only, both
	P50           float64 `json:"p50_us"`
	P90           float64 `json:"p90_us"`
	P99           float64 `json:"p99_us"`
	P999          float64 `json:"p999_us"`
	Max           float64 `json:"max_us"`
	Errors        uint64  `json:"errors"`
	FirstError    string  `json:"first_error,omitempty"`
	Untaken       int     `json:"untaken"` // open loop: calls due that could not be started in time
	CPUPerCall    float64 `json:"cpu_us_per_call"`
	RSSBefore     int     `json:"rss_before_bytes"`
	RSSAfter      int     `json:"rss_after_bytes"`
}

// runner holds the connections of a run.
type runner struct {
	options options
	plan    *plan
	dial    func() connection
	conns   []connection
}

// tally is what one phase counted.
type tally struct {
	latency    histogram
	mutex      sync.Mutex
	calls      uint64
	errors     uint64
	firstError error
	untaken    int
}

func (t *tally) finish(err error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if err == nil {
		t.calls++
		return
	}
	t.errors++
	if t.firstError == nil {
		t.firstError = err
	}
}

func run(o options) (*result, error) {
	plan, err := newPlan(o)
	if err != nil {
		return nil, err
	}
	dial, err := dialer(o)
	if err != nil {
		return nil, err
	}
	r := &runner{options: o, plan: plan, dial: dial, conns: make([]connection, o.conns)}
	for i := range r.conns {
		r.conns[i] = dial()
		defer r.conns[i].Close()
	}
	if err := r.connect(); err != nil {
		return nil, err
	}
	if warmUp := r.phase(o.warmUp); warmUp.errors > 0 {
		return nil, fmt.Errorf("warm-up: %w", warmUp.firstError)
	}
	before, err := usageOf(o.pid)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	tally := r.phase(o.duration)
	seconds := time.Since(start).Seconds()
	after, err := usageOf(o.pid)
	if err != nil {
		return nil, err
	}
	if o.histogram != "" {
		if err := dump(&tally.latency, o.histogram); err != nil {
			return nil, err
		}
	}
	return r.report(tally, seconds, before, after), nil
}

// connect makes the first call on each connection.
func (r *runner) connect() error {
	if r.options.fresh {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.options.grace)
	defer cancel()
	for _, conn := range r.conns {
		c := &caller{plan: r.plan, reader: newMessageReader()}
		if err := r.plan.kind.do(c, ctx, conn, func(time.Time) {}); err != nil {
			return fmt.Errorf("first call: %w", err)
		}
	}
	return nil
}

// phase calls for the given time and returns when the last call has ended.
func (r *runner) phase(length time.Duration) *tally {
	t := &tally{}
	start := time.Now()
	end := start.Add(length)
	ctx, cancel := context.WithDeadline(context.Background(), end.Add(r.options.grace))
	defer cancel()
	var due chan time.Time
	if r.options.rate > 0 {
		due = make(chan time.Time)
	}
	var workers sync.WaitGroup
	for _, conn := range r.conns {
		for range r.options.inFlight {
			workers.Go(func() { r.work(ctx, conn, end, due, t) })
		}
	}
	if due != nil {
		untaken, err := schedule(ctx, r.options.rate, start, end, due)
		t.untaken = untaken
		if err != nil {
			t.finish(err)
		}
	}
	workers.Wait()
	return t
}

// work makes call after call: each as soon as the one before has ended, or, with due, each when one is due.
func (r *runner) work(ctx context.Context, conn connection, end time.Time, due <-chan time.Time, t *tally) {
	c := &caller{plan: r.plan, reader: newMessageReader()}
	observe := func(start time.Time) { t.latency.add(time.Since(start)) }
	for ctx.Err() == nil {
		start := time.Now()
		if due != nil {
			moment, more := <-due
			if !more {
				return
			}
			start = moment
		} else if !start.Before(end) {
			return
		}
		err := r.call(ctx, c, conn, observe)
		if err == nil && !r.plan.kind.perMessage {
			observe(start)
		}
		t.finish(err)
		if err != nil {
			// A dead connection would otherwise count millions of errors.
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func (r *runner) call(ctx context.Context, c *caller, conn connection, observe func(time.Time)) error {
	if r.options.fresh {
		conn = r.dial()
		defer conn.Close()
	}
	return r.plan.kind.do(c, ctx, conn, observe)
}

func (r *runner) report(t *tally, seconds float64, before, after usage) *result {
	o, k := r.options, r.plan.kind
	out := &result{
		Protocol: o.protocol, Kind: o.kind, Sample: "call", Connections: o.conns, InFlight: o.inFlight,
		BodyBytes: o.body, Messages: r.plan.messages, AskedRate: o.rate, Seconds: seconds,
		Calls: t.calls, Rate: float64(t.calls) / seconds,
		BytesSent:     t.calls * r.plan.bodyBytes(k.sends),
		BytesReceived: t.calls * r.plan.bodyBytes(k.receives),
		P50:           t.latency.percentileUS(0.5), P90: t.latency.percentileUS(0.9), P99: t.latency.percentileUS(0.99),
		P999: t.latency.percentileUS(0.999), Max: microseconds(time.Duration(t.latency.max.Load())),
		Errors: t.errors, Untaken: t.untaken, RSSBefore: before.rssBytes, RSSAfter: after.rssBytes,
	}
	if k.perMessage {
		out.Sample = "message"
	}
	if k.method == "Collect" {
		out.BytesReceived = 0
	}
	if t.firstError != nil {
		out.FirstError = t.firstError.Error()
	}
	if t.calls > 0 {
		out.CPUPerCall = (after.cpuSeconds - before.cpuSeconds) * 1e6 / float64(t.calls)
	}
	return out
}

// bodyBytes is what one direction of a call carries: all the messages, or one.
func (p *plan) bodyBytes(all bool) uint64 {
	if all {
		return uint64(len(p.body)) * uint64(p.messages)
	}
	return uint64(len(p.body))
}

func dump(h *histogram, path string) error {
	data, err := json.Marshal(h.buckets())
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
