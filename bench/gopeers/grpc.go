package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// grpcStream is a call on grpc-go.
type grpcStream struct{ grpc.ServerStream }

func (s grpcStream) receive() (echoMessage, error) {
	var m echoMessage
	err := s.RecvMsg(&m)
	return m, err
}

func (s grpcStream) send(m echoMessage) error { return s.SendMsg(&m) }

// echoService describes echo.Echo as protoc's plugin would, for the codec below.
var echoService = grpc.ServiceDesc{
	ServiceName: "echo.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Unary",
		Handler:    echoUnary,
	}},
	Streams: []grpc.StreamDesc{
		{StreamName: "Stream", Handler: streamHandler("Stream"), ServerStreams: true},
		{StreamName: "Collect", Handler: streamHandler("Collect"), ClientStreams: true},
		{StreamName: "Bidi", Handler: streamHandler("Bidi"), ServerStreams: true, ClientStreams: true},
	},
}

func streamHandler(name string) grpc.StreamHandler {
	return func(_ any, s grpc.ServerStream) error { return methods[name](grpcStream{s}) }
}

// codec encodes echoMessage in place of generated protobuf code.
type codec struct{}

func init() { encoding.RegisterCodecV2(codec{}) }

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*echoMessage)
	if !ok {
		return nil, fmt.Errorf("cannot encode %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(m.marshal(nil))}, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*echoMessage)
	if !ok {
		return fmt.Errorf("cannot decode %T", v)
	}
	return m.unmarshal(data.Materialize())
}

func echoUnary(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var m echoMessage
	if err := decode(&m); err != nil {
		return nil, err
	}
	return &echoMessage{body: m.body}, nil
}
