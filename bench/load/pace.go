package main

import (
	"context"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// schedule sends the moments at which calls are due, evenly spaced, and closes the channel at the end. A moment that nobody is
// free to take is sent late but unchanged, so that latency counted from it includes the wait (no coordinated omission). It
// returns how many moments were never taken.
func schedule(ctx context.Context, rate float64, start, end time.Time, due chan<- time.Time) (untaken int, err error) {
	defer close(due)
	alarm, err := newAlarm()
	if err != nil {
		return 0, err
	}
	defer alarm.file.Close()
	total := int(end.Sub(start).Seconds() * rate)
	stop := time.NewTimer(time.Until(end))
	defer stop.Stop()
	for i := range total {
		moment := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if err := alarm.sleep(time.Until(moment)); err != nil {
			return 0, err
		}
		select {
		case due <- moment:
		case <-stop.C:
			return total - i, nil
		case <-ctx.Done():
			return total - i, nil
		}
	}
	return 0, nil
}

// alarm sleeps with the kernel's precision: Go's own timers are rounded up to a millisecond when the process is idle.
type alarm struct{ file *os.File }

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	return &alarm{os.NewFile(uintptr(fd), "timerfd")}, nil
}

func (a *alarm) sleep(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if err := a.arm(d); err != nil {
		return err
	}
	var expirations [8]byte
	_, err := io.ReadFull(a.file, expirations[:])
	return err
}

func (a *alarm) arm(d time.Duration) error {
	raw, err := a.file.SyscallConn()
	if err != nil {
		return err
	}
	var armed error
	setting := unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}
	if err := raw.Control(func(fd uintptr) { armed = unix.TimerfdSettime(int(fd), 0, &setting, nil) }); err != nil {
		return err
	}
	return os.NewSyscallError("timerfd_settime", armed)
}
