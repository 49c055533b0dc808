package admin

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bursar-dev/bursar/fsm"
)

// maxBackups is how many backups a node sends at once: each pins a copy of the state on its disk until it is sent.
const maxBackups = 1

// typeBackup is the content type of a backup.
const typeBackup = "application/octet-stream"

func (a *api) backupRoutes() {
	rt := route{method: http.MethodPost, path: "/v1/cluster/backup", id: "backup-cluster", tag: "cluster",
		summary: "A copy of everything, for `bursar restore`, as of an index that no write acknowledged before is behind; for root tokens", reach: ofAll}
	op := a.operation(&rt)
	op.Responses["200"] = &huma.Response{
		Description: http.StatusText(http.StatusOK),
		Content:     map[string]*huma.MediaType{typeBackup: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
	}
	huma.Register(a.huma, op, func(ctx context.Context, in *nothing) (*huma.StreamResponse, error) {
		out, err := a.backup(ctx)
		if err != nil {
			p := problemOf(err)
			a.logProblem(ctx, p, whoAsks(ctx).request)
			return nil, p
		}
		return out, nil
	})
}

// backup puts the backup on record and streams this node's state, which has that
// record in it. A stream that breaks in the middle is cut off, and lacks the end
// by which a whole one is known.
func (a *api) backup(ctx context.Context) (*huma.StreamResponse, error) {
	if whoAsks(ctx).token.Role != fsm.RoleRoot {
		return nil, forbidden("a backup holds everything: it takes a root token")
	}
	select {
	case a.backups <- struct{}{}:
	default:
		return nil, newProblem(http.StatusTooManyRequests, codeOverloaded, "this node is sending a backup already")
	}
	if err := a.propose(ctx, fsm.Backup{}); err != nil {
		<-a.backups
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer func() { <-a.backups }()
		_, w := humago.Unwrap(hc)
		began := time.Now()
		w.Header().Set("Content-Type", typeBackup)
		w.Header().Set(headerIndex, strconv.FormatUint(a.applied(), 10))
		index, err := a.machine.WriteSnapshot(&pacedWriter{w: w, rc: http.NewResponseController(w)})
		if err != nil {
			a.log.Warn("backup cut off", "request", w.Header().Get(headerRequestID), "err", err)
			panic(http.ErrAbortHandler)
		}
		a.log.Info("backup sent", "request", w.Header().Get(headerRequestID), "index", index, "took", time.Since(began))
	}}, nil
}

// maxPiece is how many bytes of a long answer are one piece.
const maxPiece = 1 << 20

// pacedWriter gives each piece of a long answer the time that a short answer has
// in all: whoever stops reading is cut off, and lets go of what the node keeps for it.
type pacedWriter struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	begun bool // something was written
}

// Write implements io.Writer.
func (p *pacedWriter) Write(b []byte) (n int, err error) {
	p.begun = true
	for piece := range slices.Chunk(b, maxPiece) {
		p.rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // unsupported only by recorders in tests
		sent, err := p.w.Write(piece)
		if n += sent; err != nil {
			return n, err
		}
	}
	return n, nil
}
