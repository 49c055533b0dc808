//go:build !linux

package enforcer

import "github.com/cockroachdb/pebble/v2/vfs"

// mapSegment is for Linux; elsewhere a segment is written with write(2).
func mapSegment(file vfs.File, _, _ int64) (f segmentFile, unmapped error) {
	return writtenFile{file}, errCannotMap
}
