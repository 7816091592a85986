package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// writeTo calls write with the named output: standard output for "-" and "",
// else a file that appears under its name only when it is complete. After an
// error no file is left behind and an older file of that name is untouched.
func (e *env) writeTo(path string, write func(io.Writer) error) (err error) {
	if path == "-" || path == "" {
		return write(e.stdout)
	}
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		if st.IsDir() {
			return fmt.Errorf("write %s: is a directory", path)
		}
		// A device or a pipe takes the bytes as they come.
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".fragprof-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := write(f); err != nil {
		return errors.Join(err, f.Close())
	}
	// CreateTemp makes files that only their owner reads.
	if err := errors.Join(f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
