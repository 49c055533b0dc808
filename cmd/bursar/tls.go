package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certExpirySoon is how long before its end a certificate is worth a warning.
const certExpirySoon = 30 * 24 * time.Hour

// peerTLS is the identity a node shows to its peers and the authority it
// measures theirs by. The files are looked at again for every handshake, so a
// renewed certificate is used without a restart; files that are changed to
// something unusable are reported once and the ones before stay in use.
type peerTLS struct {
	ca, cert, key string // paths, PEM
	log           *slog.Logger

	mu     sync.Mutex
	stamp  [3]fileStamp
	loaded *tls.Config
}

// fileStamp tells one content of a file from another without reading it.
type fileStamp struct {
	modified time.Time
	size     int64
}

// newPeerTLS loads the files; name must be among the certificate's DNS names.
func newPeerTLS(ca, cert, key, name string, log *slog.Logger) (*peerTLS, error) {
	p := &peerTLS{ca: ca, cert: cert, key: key, log: log}
	config, err := p.Config()
	if err != nil {
		return nil, err
	}
	leaf := config.Certificates[0].Leaf
	if err := leaf.VerifyHostname(name); err != nil {
		return nil, fmt.Errorf("--tls-cert %s is for %v, not for --node-id %s: make one with: bursar certs %s", cert, leaf.DNSNames, name, name)
	}
	return p, nil
}

// Config returns the present configuration, for either side of a handshake.
func (p *peerTLS) Config() (*tls.Config, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stamp, err := p.stat()
	if err == nil && p.loaded != nil && stamp == p.stamp {
		return p.loaded, nil
	}
	var config *tls.Config
	if err == nil {
		config, err = p.load()
	}
	if err != nil && p.loaded == nil {
		return nil, err
	}
	if err != nil {
		if stamp != p.stamp {
			p.log.Error("the new certificate files cannot be used; the ones before stay in use", "error", err)
		}
		p.stamp = stamp
		return p.loaded, nil
	}
	p.stamp, p.loaded = stamp, config
	end := config.Certificates[0].Leaf.NotAfter
	p.log.Info("peer certificate loaded", "file", p.cert, "not_after", end.UTC())
	if time.Until(end) < certExpirySoon {
		p.log.Warn("the peer certificate ends soon; renew it, no restart is needed", "file", p.cert, "not_after", end.UTC())
	}
	return config, nil
}

func (p *peerTLS) stat() (stamp [3]fileStamp, err error) {
	for i, path := range []string{p.ca, p.cert, p.key} {
		info, statErr := os.Stat(path)
		if statErr != nil {
			err = errors.Join(err, statErr)
			continue
		}
		stamp[i] = fileStamp{info.ModTime(), info.Size()}
	}
	return stamp, err
}

func (p *peerTLS) load() (*tls.Config, error) {
	pem, err := os.ReadFile(p.ca)
	if err != nil {
		return nil, fmt.Errorf("--tls-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--tls-ca %s holds no PEM certificate", p.ca)
	}
	pair, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			return nil, fmt.Errorf("--tls-cert %s does not stand up to --tls-ca: %w", p.cert, err)
		}
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		RootCAs:      pool,
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}, nil
}
