package main

import (
	"bytes"
	"io"
	"testing"
	"time"
)

func TestEveryPercentileIsWithinABucketOfTheTruth(t *testing.T) {
	h := &histogram{}
	for i := 1; i <= 100_000; i++ {
		h.add(time.Duration(i) * time.Microsecond)
	}
	for _, share := range []float64{0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		want := share * 100_000
		if got := h.percentileUS(share); got < want || got > want*129/128 {
			t.Errorf("percentile %v is %v us, want %v", share, got, want)
		}
	}
}

func TestBucketsCoverEveryDuration(t *testing.T) {
	h := &histogram{}
	for shift := range 63 {
		h.add(1<<shift - 1)
		h.add(1 << shift)
	}
	var seen uint32
	last := -1.0
	for _, b := range h.buckets() {
		seen += b.Count
		if b.BelowUS <= last {
			t.Errorf("bucket below %v us follows one below %v us", b.BelowUS, last)
		}
		last = b.BelowUS
	}
	if seen != 126 {
		t.Errorf("%d samples of 126 are in buckets", seen)
	}
}

func TestMessagesSurviveARoundTrip(t *testing.T) {
	for _, m := range []echoMessage{{}, {body: []byte("x")}, {body: make([]byte, 100_000), count: 7, size: 1 << 40}} {
		r := newMessageReader()
		r.reset(bytes.NewReader(m.frame()))
		got, err := r.next()
		if err != nil || !bytes.Equal(got.body, m.body) || got.count != m.count || got.size != m.size {
			t.Errorf("%d bytes, %v, %v came back as %d bytes, %v, %v: %v",
				len(m.body), m.count, m.size, len(got.body), got.count, got.size, err)
		}
		if _, err := r.next(); err != io.EOF {
			t.Errorf("after the last message: %v", err)
		}
	}
}

func TestWrongResponsesAreErrors(t *testing.T) {
	good := echoMessage{body: []byte("good")}.frame()
	compressed := bytes.Clone(good)
	compressed[0] = 1
	for name, data := range map[string][]byte{
		"another body": echoMessage{body: []byte("evil")}.frame(),
		"cut short":    good[:len(good)-1],
		"compressed":   compressed,
		"no protobuf":  {0, 0, 0, 0, 2, 0x0a, 0x05},
		"too long":     {0, 0xff, 0xff, 0xff, 0xff},
		"nothing":      nil,
	} {
		r := newMessageReader()
		r.reset(bytes.NewReader(data))
		if r.expectBody([]byte("good")) == nil {
			t.Errorf("%s is taken as the answer", name)
		}
	}
}

func TestARepeatedFrameIsTheFramesInARow(t *testing.T) {
	frame := echoMessage{body: []byte("abc")}.frame()
	got, err := io.ReadAll(&repeatedFrame{frame: frame, left: 1000})
	if err != nil || !bytes.Equal(got, bytes.Repeat(frame, 1000)) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
}
