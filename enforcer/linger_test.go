package enforcer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// A caller that sends all before it reads gets the answer, and not a reset connection.
func TestABodyThatIsTooLargeIsAnsweredToACallerWhoIsStillSending(t *testing.T) {
	n := newSoloNode(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	mustDo(t, err)
	served := make(chan error, 1)
	go func() { served <- n.server.Serve(Linger(ln)) }()
	t.Cleanup(func() { mustDo(t, n.server.Shutdown(), <-served) })
	for range 5 {
		c, err := net.Dial("tcp", ln.Addr().String())
		mustDo(t, err)
		defer c.Close()
		mustDo(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		const size = 16 << 20 // more than the kernel's buffers hold
		head := fmt.Sprintf("POST /v1/ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", tokenAll, size)
		if _, err := c.Write(append([]byte(head), bytes.Repeat([]byte(" "), size)...)); err != nil {
			t.Fatalf("the connection broke while the body was being sent: %v", err)
		}
		in := bufio.NewReader(c)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		_, err = io.ReadAll(res.Body)
		mustDo(t, err)
		if _, end := in.ReadByte(); res.StatusCode != 413 || !errors.Is(end, io.EOF) {
			t.Errorf("%s, then %v, want 413 and the end", res.Status, end)
		}
	}
}
