package admin

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// isProbe reports whether a path must be answered however busy the node is.
func isProbe(path string) bool {
	return path == "/healthz" || path == "/readyz" || path == "/metrics"
}

// isOpen reports whether a path is answered without a token.
func isOpen(path string) bool { return isProbe(path) || path == documentPath }

// probeRoutes serves what load balancers and monitoring ask for. It needs no
// token and says nothing about accounts.
func (a *api) probeRoutes(mux *http.ServeMux, g prometheus.Gatherer) {
	a.describePlain("/healthz", "get-healthz", "200 while the process is up", typeJSON)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { ok(w) })

	a.describePlain("/readyz", "get-readyz", "200 while this node may decide; 503 says why not", typeJSON)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := a.ready(); err != nil {
			newProblem(http.StatusServiceUnavailable, codeUnavailable, "%v", err).write(w)
			return
		}
		ok(w)
	})

	a.describePlain("/metrics", "get-metrics", "Prometheus metrics of this node", "text/plain")
	if g == nil {
		g = prometheus.NewRegistry()
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{}))
}

func ok(w http.ResponseWriter) {
	w.Header().Set("Content-Type", typeJSON)
	w.Write([]byte(`{"status":"ok"}` + "\n"))
}
