package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxMessageBytes bounds what a broken server can make us allocate.
const maxMessageBytes = 64 << 20

// Field numbers of echo.EchoMessage, as protobuf tags.
const (
	tagBody  = 1<<3 | 2
	tagCount = 2<<3 | 0
	tagSize  = 3<<3 | 0
)

// echoMessage is echo.EchoMessage.
type echoMessage struct {
	body  []byte
	count uint64
	size  uint64
}

// frame encodes the message with gRPC's five-byte prefix.
func (m echoMessage) frame() []byte {
	out := make([]byte, 5, 5+len(m.body)+32)
	if len(m.body) > 0 {
		out = binary.AppendUvarint(append(out, tagBody), uint64(len(m.body)))
		out = append(out, m.body...)
	}
	if m.count > 0 {
		out = binary.AppendUvarint(append(out, tagCount), m.count)
	}
	if m.size > 0 {
		out = binary.AppendUvarint(append(out, tagSize), m.size)
	}
	binary.BigEndian.PutUint32(out[1:5], uint32(len(out)-5))
	return out
}

var errBadProtobuf = errors.New("response is no EchoMessage")

// parseEcho decodes a message; body refers to data.
func parseEcho(data []byte) (echoMessage, error) {
	var m echoMessage
	for len(data) > 0 {
		tag := data[0]
		value, n := binary.Uvarint(data[1:])
		if n <= 0 {
			return m, errBadProtobuf
		}
		data = data[1+n:]
		switch tag {
		case tagBody:
			if value > uint64(len(data)) {
				return m, errBadProtobuf
			}
			m.body, data = data[:value], data[value:]
		case tagCount:
			m.count = value
		case tagSize:
			m.size = value
		default:
			return m, errBadProtobuf
		}
	}
	return m, nil
}

// messageReader cuts a response body into messages. It keeps its buffers from call to call.
type messageReader struct {
	reader *bufio.Reader
	buffer []byte
}

func newMessageReader() *messageReader {
	return &messageReader{reader: bufio.NewReaderSize(nil, 16<<10)}
}

func (r *messageReader) reset(body io.Reader) { r.reader.Reset(body) }

// next returns the next message; it is valid until the following call. io.EOF: the body ended between messages.
func (r *messageReader) next() (echoMessage, error) {
	var prefix [5]byte
	if _, err := io.ReadFull(r.reader, prefix[:]); err != nil {
		return echoMessage{}, err
	}
	length := binary.BigEndian.Uint32(prefix[1:])
	if prefix[0] != 0 || length > maxMessageBytes {
		return echoMessage{}, fmt.Errorf("message prefix % x", prefix)
	}
	if int(length) > cap(r.buffer) {
		r.buffer = make([]byte, length)
	}
	r.buffer = r.buffer[:length]
	if _, err := io.ReadFull(r.reader, r.buffer); err != nil {
		return echoMessage{}, fmt.Errorf("message cut short: %w", err)
	}
	return parseEcho(r.buffer)
}

// expectBody reads one message, which must carry just this body.
func (r *messageReader) expectBody(body []byte) error {
	m, err := r.next()
	if err != nil {
		return err
	}
	if m.count != 0 || m.size != 0 || !bytes.Equal(m.body, body) {
		return fmt.Errorf("response of %d bytes differs from the %d sent", len(m.body), len(body))
	}
	return nil
}

// repeatedFrame is a request body of the same message many times. Its last read says that it is the last, so that no empty DATA
// frame is needed to end the stream.
type repeatedFrame struct {
	frame []byte
	rest  []byte
	left  int
}

func (r *repeatedFrame) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(r.rest) == 0 {
			if r.left == 0 {
				return n, io.EOF
			}
			r.left--
			r.rest = r.frame
		}
		copied := copy(p[n:], r.rest)
		r.rest = r.rest[copied:]
		n += copied
	}
	return n, nil
}

// turnFrame is a request body that gives one message for each turn and ends when turns is closed.
type turnFrame struct {
	frame []byte
	rest  []byte
	turns chan struct{}
	ended bool
}

// finish ends the body; a second time it does nothing.
func (r *turnFrame) finish() {
	if !r.ended {
		r.ended = true
		close(r.turns)
	}
}

func (r *turnFrame) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if _, more := <-r.turns; !more {
			return 0, io.EOF
		}
		r.rest = r.frame
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
