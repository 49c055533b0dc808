package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxScrapeBytes bounds one node's metrics.
const maxScrapeBytes = 16 << 20

// locality is how many checks nodes have decided, and how many of them from their own memory.
type locality struct{ decided, local float64 }

func (l locality) since(before locality) locality {
	return locality{l.decided - before.decided, l.local - before.local}
}

// scrapeLocality adds up the metrics of the nodes at these control-plane base URLs.
func scrapeLocality(ctx context.Context, admins []string) (sum locality, err error) {
	for _, base := range admins {
		if err := scrapeNode(ctx, base, &sum); err != nil {
			return sum, fmt.Errorf("metrics of %s: %w", base, err)
		}
	}
	return sum, nil
}

func scrapeNode(ctx context.Context, base string, sum *locality) error {
	u, err := url.JoinPath(base, "/metrics")
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return sum.read(io.LimitReader(resp.Body, maxScrapeBytes))
}

// read adds what a page in Prometheus' text format says.
func (l *locality) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		name, _, _ = strings.Cut(name, "{")
		to := map[string]*float64{"bursar_checks_total": &l.decided, "bursar_checks_local_total": &l.local}[name]
		if to == nil {
			continue
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*to += v
	}
	return lines.Err()
}
