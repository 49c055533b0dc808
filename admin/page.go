package admin

import (
	"strconv"

	"github.com/bursar-dev/bursar/client"
)

// pageMax is the most items one page of a list has; the same number stands in
// the tags of every Limit parameter.
const pageMax = 1000

// listOf turns a page of the store into a page of the wire. next is the cursor, empty at the end.
func listOf[D, W any](items []D, next string, wire func(*D) W) client.List[W] {
	out := client.List[W]{Items: make([]W, len(items)), Next: orNull(next)}
	for i := range items {
		out.Items[i] = wire(&items[i])
	}
	return out
}

// seqCursor and seqAfter are cursors of lists that are ordered by a sequence number.
func seqCursor(next uint64) string {
	if next == 0 {
		return ""
	}
	return strconv.FormatUint(next, 10)
}

func seqAfter(after string) (uint64, error) {
	if after == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(after, 10, 64)
	if err != nil || n == 0 {
		return 0, invalidField("after", "is not a cursor of this list")
	}
	return n, nil
}
