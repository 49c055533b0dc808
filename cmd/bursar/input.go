package main

import (
	"io"
	"os"
)

// toStdio is the file name that means standard output or input.
const toStdio = "-"

// openInput opens a file that was named on the command line.
func openInput(name string) (io.ReadCloser, error) {
	if name == toStdio {
		return io.NopCloser(os.Stdin), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, usageError{err}
	}
	return f, nil
}
