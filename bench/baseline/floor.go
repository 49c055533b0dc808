package baseline

import (
	"bytes"
	"net"
	"net/http"

	"github.com/valyala/fasthttp"
)

// FloorAnswer is what the floor answers to every check: a decision of the usual length.
const FloorAnswer = `{"allowed":true,"code":"ok","remaining":{"requests":1125899906842620,"tokens":1125899906842620},"index":4711}`

// ServeFloor answers every POST on l with FloorAnswer, after it has looked at the
// Authorization header and read the body. It decides nothing and keeps nothing:
// what a service on this HTTP library costs before it does anything.
func ServeFloor(l net.Listener, token string) error {
	bearer := []byte("Bearer " + token)
	answer := []byte(FloorAnswer)
	s := &fasthttp.Server{
		Handler: func(ctx *fasthttp.RequestCtx) {
			if ctx.IsGet() {
				return // a probe
			}
			if !ctx.IsPost() || !bytes.Equal(ctx.Request.Header.Peek("Authorization"), bearer) || len(ctx.PostBody()) == 0 {
				ctx.SetStatusCode(http.StatusUnauthorized)
				return
			}
			ctx.SetContentType("application/json")
			ctx.SetBody(answer)
		},
		NoDefaultServerHeader: true,
		NoDefaultDate:         true,
	}
	return s.Serve(l)
}
