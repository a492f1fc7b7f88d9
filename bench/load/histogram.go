package main

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// histogram counts durations in buckets at most 1/128 wide relative to their value. Safe for concurrent use.
type histogram struct {
	counts [58 * subBuckets]atomic.Uint32
	max    atomic.Int64
}

const (
	subBucketBits = 7
	subBuckets    = 1 << subBucketBits
)

// bucket is one line of a dumped histogram.
type bucket struct {
	BelowUS float64 `json:"below_us"`
	Count   uint32  `json:"count"`
}

func (h *histogram) add(d time.Duration) {
	v := uint64(max(d, 0))
	shift := max(bits.Len64(v)-subBucketBits-1, 0)
	h.counts[shift<<subBucketBits+int(v>>shift)].Add(1)
	for {
		seen := h.max.Load()
		if int64(v) <= seen || h.max.CompareAndSwap(seen, int64(v)) {
			return
		}
	}
}

// above returns the smallest duration that is larger than any in the bucket.
func above(index int) time.Duration {
	shift := max(index>>subBucketBits-1, 0)
	return time.Duration(index-shift<<subBucketBits+1) << shift
}

func (h *histogram) count() uint64 {
	var n uint64
	for i := range h.counts {
		n += uint64(h.counts[i].Load())
	}
	return n
}

// percentileUS returns the microseconds that the given share (0 to 1) of the samples does not exceed.
func (h *histogram) percentileUS(share float64) float64 {
	left := share * float64(h.count())
	for i := range h.counts {
		if n := h.counts[i].Load(); n > 0 {
			if left -= float64(n); left <= 0 {
				return microseconds(min(above(i), time.Duration(h.max.Load())))
			}
		}
	}
	return microseconds(time.Duration(h.max.Load()))
}

func (h *histogram) buckets() []bucket {
	var out []bucket
	for i := range h.counts {
		if n := h.counts[i].Load(); n > 0 {
			out = append(out, bucket{microseconds(above(i)), n})
		}
	}
	return out
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
