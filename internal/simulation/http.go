package simulation

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"
)

// answer is what a caller hears. Without a status it hears nothing: the process
// ended, or it gave up waiting.
type answer struct {
	status int
	body   []byte
}

// lost says that the caller cannot know what has become of its request.
func (a answer) lost() bool { return a.status == 0 }

// patience is how long a caller waits for an answer.
const patience = 3 * time.Second

// post sends one request to a process's data plane, past the socket: the
// handler gets it as the server would have read it.
func (p *process) post(path, token string, body string) answer {
	handler := p.serve.Load()
	if handler == nil {
		return answer{status: fasthttp.StatusServiceUnavailable}
	}
	done := make(chan answer, 1)
	p.calls.Add(1)
	go func() {
		defer p.calls.Done()
		var req fasthttp.Request
		req.Header.SetMethod(fasthttp.MethodPost)
		req.SetRequestURI(path)
		req.Header.Set(fasthttp.HeaderAuthorization, "Bearer "+token)
		req.SetBodyString(body)
		var ctx fasthttp.RequestCtx
		ctx.Init(&req, nil, nil)
		(*handler)(&ctx)
		done <- answer{ctx.Response.StatusCode(), append([]byte(nil), ctx.Response.Body()...)}
	}()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	var a answer
	select {
	case a = <-done:
	case <-p.gone:
	case <-timeout.C:
	}
	select {
	case <-p.gone: // the connection broke before the answer was read
		return answer{}
	default:
		return a
	}
}

// decision is the body of a check's answer.
type decision struct {
	Allowed     bool      `json:"allowed"`
	Code        string    `json:"code"`
	Reservation string    `json:"reservation"`
	ExpiresAt   time.Time `json:"expires_at"`
	DeniedBy    *row      `json:"denied_by"`
	Chain       []row     `json:"chain"`
	Index       uint64    `json:"index"`
}

// row is one assignment in a decision.
type row struct {
	Entity      string     `json:"entity"`
	Enforcement string     `json:"enforcement"`
	Limit       int64      `json:"limit"`
	Used        int64      `json:"used"`
	Reserved    int64      `json:"reserved"`
	Requested   int64      `json:"requested"`
	ResetsAt    *time.Time `json:"resets_at"` // nil: never
}

// recorded is the body of an ingest's answer.
type recorded struct {
	Accepted   int    `json:"accepted"`
	Duplicates int    `json:"duplicates"`
	Durability string `json:"durability"`
	Rejected   []struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
	} `json:"rejected"`
}

// problem is the body of an error.
type problem struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func (a answer) into(v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		return fmt.Errorf("%d %s: %w", a.status, a.body, err)
	}
	return nil
}

// problem returns the code of an error answer.
func (a answer) problem() string {
	var p problem
	_ = a.into(&p)
	return p.Code
}

func checkBody(entity string, amount int64, ttl time.Duration) string {
	return fmt.Sprintf(`{"account":%q,"entities":[%q],"usage":{"requests":%d},"reserve_ttl_ms":%d,"explain":true}`,
		account, entity, amount, ttl.Milliseconds())
}

func (e *event) body() string {
	reservation := ""
	if e.reservation != "" {
		reservation = fmt.Sprintf(`,"reservation":%q`, e.reservation)
	}
	return fmt.Sprintf(`{"events":[{"id":%q,"account":%q,"entities":[%q],"usage":{"requests":%d},"at":%q%s}]}`,
		e.id, account, e.entity, e.amount, e.at.Format(time.RFC3339Nano), reservation)
}
