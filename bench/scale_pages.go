package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// pages times pages of an account's lists, one after the other, and the assignments of callers from all over it.
func (s *Scale) pages(ctx context.Context, a *scaleAccount, into *ScaleSide) error {
	s.say("pages of account %s", a.account)
	base := s.URL + "/v1/accounts/" + url.PathEscape(a.account)
	for _, list := range []struct {
		path string
		into *int64
	}{{"/entities", &into.Pages.Entities}, {"/assignments", &into.Pages.Assignments}, {"/tree", &into.Pages.Tree}} {
		latency := NewLatency()
		after := ""
		for range scalePages {
			began := time.Now()
			next, err := s.page(ctx, fmt.Sprintf("%s%s?limit=%d&after=%s", base, list.path, scalePage, url.QueryEscape(after)))
			if err != nil {
				return err
			}
			latency.Record(time.Since(began))
			after = next
		}
		*list.into = latency.Quantiles().P50
	}
	latency := NewLatency()
	for i := range scalePages {
		began := time.Now()
		if _, err := s.page(ctx, base+"/assignments?entity="+url.QueryEscape(a.callers[i*len(a.callers)/scalePages])); err != nil {
			return err
		}
		latency.Record(time.Since(began))
	}
	into.Pages.OfOne = latency.Quantiles().P50
	return nil
}

// page reads a page of the control plane and returns where the next begins.
func (s *Scale) page(ctx context.Context, page string) (next string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+s.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %d", page, resp.StatusCode)
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
		Next  *string           `json:"next"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return "", fmt.Errorf("%s: %w", page, err)
	}
	if list.Next != nil {
		next = *list.Next
	}
	return next, nil
}
