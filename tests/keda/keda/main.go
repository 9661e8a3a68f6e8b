// Command describe prints a protocol, a line for each name, number and type in it: the one that KEDA was
// built with, or the one whose descriptors it reads from its input when called with `-`.
package main

import (
	"fmt"
	"io"
	"os"
	"sort"

	"github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

func main() {
	file := protoreflect.FileDescriptor(externalscaler.File_externalscaler_proto)
	if len(os.Args) > 1 && os.Args[1] == "-" {
		read, err := readDescriptors()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		file = read
	}
	lines := describe(file)
	sort.Strings(lines)
	for _, line := range lines {
		fmt.Println(line)
	}
}

func readDescriptors() (protoreflect.FileDescriptor, error) {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return nil, err
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(input, &set); err != nil {
		return nil, err
	}
	if len(set.File) != 1 {
		return nil, fmt.Errorf("%d files instead of one", len(set.File))
	}
	return protodesc.NewFile(set.File[0], nil)
}

func describe(file protoreflect.FileDescriptor) []string {
	lines := []string{fmt.Sprintf("package %s %s", file.Package(), file.Syntax())}
	for i := range file.Services().Len() {
		service := file.Services().Get(i)
		for j := range service.Methods().Len() {
			m := service.Methods().Get(j)
			lines = append(lines, fmt.Sprintf("rpc %s %s (stream %t) → %s (stream %t)", m.FullName(),
				m.Input().FullName(), m.IsStreamingClient(), m.Output().FullName(), m.IsStreamingServer()))
		}
	}
	return append(lines, describeMessages(file.Messages())...)
}

func describeMessages(messages protoreflect.MessageDescriptors) []string {
	var lines []string
	for i := range messages.Len() {
		message := messages.Get(i)
		lines = append(lines, fmt.Sprintf("message %s", message.FullName()))
		for j := range message.Fields().Len() {
			field := message.Fields().Get(j)
			kind := field.Kind().String()
			if field.Message() != nil {
				kind = string(field.Message().FullName())
			}
			lines = append(lines, fmt.Sprintf("field %s = %d: %s %s", field.FullName(), field.Number(),
				field.Cardinality(), kind))
		}
		lines = append(lines, describeMessages(message.Messages())...)
	}
	return lines
}
