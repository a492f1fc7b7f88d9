package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// ticksPerSecond is USER_HZ, the unit of CPU times in /proc on every Linux.
const ticksPerSecond = 100

// usage is what a process has used so far.
type usage struct {
	cpuSeconds float64
	rssBytes   int
}

// usageOf reads /proc/PID/stat: utime and stime (fields 14 and 15) of all threads, and the resident pages (field 24).
func usageOf(pid int) (usage, error) {
	if pid == 0 {
		return usage{}, nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	// The program's name, the second field, may hold spaces and parentheses.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var numbers [3]int
	for i, field := range []int{14, 15, 24} {
		if numbers[i], err = strconv.Atoi(string(fields[field-3])); err != nil {
			return usage{}, err
		}
	}
	return usage{
		cpuSeconds: float64(numbers[0]+numbers[1]) / ticksPerSecond,
		rssBytes:   numbers[2] * os.Getpagesize(),
	}, nil
}
