package ledgerfile

import (
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/bursar-dev/bursar/client"
)

// A group of rows is held in memory until it is written: at most so many rows, of about so many bytes.
const (
	groupRows  = 50_000
	groupBytes = 16 << 20
)

// Writer writes lines to one file. It is for one goroutine.
type Writer struct {
	to    *parquet.GenericWriter[Row]
	row   [1]Row
	rows  int // of the group under way
	bytes int
}

// NewWriter writes a file to w, compressed with Zstandard. Close ends it; w is not closed.
func NewWriter(w io.Writer) *Writer {
	return &Writer{to: parquet.NewGenericWriter[Row](w, parquet.Compression(&zstd.Codec{}), parquet.CreatedBy("bursar", "", ""))}
}

// Write adds a line. It keeps nothing of it.
func (w *Writer) Write(l *client.LedgerLine) error {
	w.row[0] = rowOf(l)
	if _, err := w.to.Write(w.row[:]); err != nil {
		return err
	}
	w.rows++
	w.bytes += w.row[0].size()
	if w.rows < groupRows && w.bytes < groupBytes {
		return nil
	}
	w.rows, w.bytes = 0, 0
	return w.to.Flush()
}

// Close writes what is left, and the footer without which the file is none.
func (w *Writer) Close() error { return w.to.Close() }
