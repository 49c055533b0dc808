package enforcer

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

func TestADeadlineIsSetOnlyWhereTheOneThatIsSetWillNotDo(t *testing.T) {
	start := time.Now()
	var d lazyDeadline
	for _, step := range []struct {
		asked time.Duration // 0: no deadline
		set   time.Duration // −1: nothing to do; 0: none
	}{
		{0, -1},
		{75 * time.Second, 76 * time.Second},
		{75*time.Second + 10*time.Millisecond, -1},
		{76 * time.Second, -1},
		{76*time.Second + 1, 77*time.Second + 1},
		{10 * time.Second, 11 * time.Second}, // the rest of a request has yet to come
		{85 * time.Second, 86 * time.Second},
		{0, 0},
		{0, -1},
	} {
		d.asked = time.Time{}
		if step.asked != 0 {
			d.asked = start.Add(step.asked)
		}
		want := time.Time{}
		if step.set > 0 {
			want = start.Add(step.set)
		}
		if got, due := d.due(); due != (step.set >= 0) || due && !got.Equal(want) {
			t.Errorf("asked for %v: set %v (%v), want %v", step.asked, got.Sub(start), due, step.set)
		}
	}
}

func TestAConnectionKeepsItsDeadlines(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	mustDo(t, err)
	defer ln.Close()
	caller, err := net.Dial("tcp", ln.Addr().String())
	mustDo(t, err)
	defer caller.Close()
	c, err := Linger(ln).Accept()
	mustDo(t, err)
	defer c.Close()
	past := time.Now().Add(-2 * deadlineSlack)
	buf := make([]byte, 1)
	mustDo(t, c.SetReadDeadline(past))
	if _, err := c.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read after the deadline: %v", err)
	}
	mustDo(t, c.SetWriteDeadline(past))
	if _, err := c.Write(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("written after the deadline: %v", err)
	}
	mustDo(t, c.SetDeadline(time.Time{}))
	if _, err := c.Write(buf); err != nil {
		t.Errorf("written without a deadline: %v", err)
	}
	if _, err := caller.Write(buf); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(buf); err != nil {
		t.Errorf("read without a deadline: %v", err)
	}
}
