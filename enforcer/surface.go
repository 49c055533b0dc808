package enforcer

import (
	"log/slog"

	"github.com/valyala/fasthttp"
)

// NewServer returns the data plane's HTTP server over e.
func NewServer(e *Enforcer, log *slog.Logger) *fasthttp.Server { panic("unwritten") }
