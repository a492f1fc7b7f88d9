package main

import (
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

const maxMessageBytes = 4 << 20

// echoMessage is echo.EchoMessage: body = 1, count = 2, size = 3.
type echoMessage struct {
	body  []byte
	count uint64
	size  uint64
}

func (m *echoMessage) marshal(out []byte) []byte {
	if len(m.body) > 0 {
		out = protowire.AppendTag(out, 1, protowire.BytesType)
		out = protowire.AppendBytes(out, m.body)
	}
	if m.count > 0 {
		out = protowire.AppendTag(out, 2, protowire.VarintType)
		out = protowire.AppendVarint(out, m.count)
	}
	if m.size > 0 {
		out = protowire.AppendTag(out, 3, protowire.VarintType)
		out = protowire.AppendVarint(out, m.size)
	}
	return out
}

func (m *echoMessage) unmarshal(data []byte) error {
	*m = echoMessage{}
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		switch {
		case number == 1 && kind == protowire.BytesType:
			m.body, n = protowire.ConsumeBytes(data)
		case number == 2 && kind == protowire.VarintType:
			m.count, n = protowire.ConsumeVarint(data)
		case number == 3 && kind == protowire.VarintType:
			m.size, n = protowire.ConsumeVarint(data)
		default:
			n = protowire.ConsumeFieldValue(number, kind, data)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
	}
	return nil
}

// stream is what a method sees of a call, whatever the transport. receive ends with io.EOF.
type stream interface {
	receive() (echoMessage, error)
	send(echoMessage) error
}

// methods are those of echo.Echo.
var methods = map[string]func(stream) error{
	"Unary": func(s stream) error {
		m, err := s.receive()
		if err != nil {
			return err
		}
		return s.send(echoMessage{body: m.body})
	},
	"Stream": func(s stream) error {
		m, err := s.receive()
		if err != nil {
			return err
		}
		body := m.body
		if m.size > 0 {
			body = make([]byte, m.size)
		}
		for range max(m.count, 1) {
			if err := s.send(echoMessage{body: body}); err != nil {
				return err
			}
		}
		return nil
	},
	"Bidi": func(s stream) error {
		for {
			m, err := s.receive()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if err := s.send(echoMessage{body: m.body}); err != nil {
				return err
			}
		}
	},
	"Collect": func(s stream) error {
		var total echoMessage
		for {
			m, err := s.receive()
			if err == io.EOF {
				return s.send(total)
			}
			if err != nil {
				return err
			}
			total.count++
			total.size += uint64(len(m.body))
		}
	},
}

// readMessage reads one length-prefixed message; io.EOF between messages is the end.
func readMessage(r io.Reader) (echoMessage, error) {
	var prefix [5]byte
	var m echoMessage
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return m, err
	}
	length := binary.BigEndian.Uint32(prefix[1:])
	if prefix[0] != 0 || length > maxMessageBytes {
		return m, fmt.Errorf("message prefix % x", prefix)
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(r, data); err != nil {
		return m, io.ErrUnexpectedEOF
	}
	err := m.unmarshal(data)
	return m, err
}

func writeMessage(w io.Writer, m echoMessage) error {
	out := m.marshal(make([]byte, 5, 5+len(m.body)+32))
	binary.BigEndian.PutUint32(out[1:5], uint32(len(out)-5))
	_, err := w.Write(out)
	return err
}
