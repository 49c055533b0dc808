package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// LoadTLS returns a source of the peer port's TLS configuration: the node's
// certificate and key, and the authority that signs every node's certificate, all
// PEM files. Changed files are noticed at the next handshake, within tlsRecheck;
// while they cannot be loaded (half written, say) the last good ones stay in use.
// The source fails only if none ever loaded. It may be called concurrently.
func LoadTLS(caFile, certFile, keyFile string) func() (*tls.Config, error) {
	f := &tlsFiles{ca: caFile, cert: certFile, key: keyFile}
	return f.config
}

// tlsRecheck is how long files are taken as unchanged.
const tlsRecheck = time.Second

type tlsFiles struct {
	ca, cert, key string

	mu      sync.Mutex
	checked time.Time
	seen    [3]fileVersion // as loaded
	warned  [3]fileVersion // as last complained about
	current *tls.Config
}

type fileVersion struct {
	modified time.Time
	size     int64
}

func (f *tlsFiles) config() (*tls.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current != nil && time.Since(f.checked) < tlsRecheck {
		return f.current, nil
	}
	f.checked = time.Now()
	var now [3]fileVersion
	for i, name := range []string{f.ca, f.cert, f.key} {
		if info, err := os.Stat(name); err == nil {
			now[i] = fileVersion{info.ModTime(), info.Size()}
		}
	}
	if f.current != nil && now == f.seen {
		return f.current, nil
	}
	c, err := f.load()
	if err != nil {
		if f.current == nil {
			return nil, err
		}
		if now != f.warned {
			f.warned = now
			slog.Warn("changed TLS files cannot be loaded; the previous ones stay in use", "error", err)
		}
		return f.current, nil
	}
	f.seen, f.current = now, c
	return c, nil
}

func (f *tlsFiles) load() (*tls.Config, error) {
	pem, err := os.ReadFile(f.ca)
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", f.ca)
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("load the node's certificate: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ClientCAs: pool}, nil
}

// serverTLS is base made fit for the peer port's listening side: both
// protocols, and a client certificate signed by the authority.
func serverTLS(base *tls.Config) *tls.Config {
	c := base.Clone()
	c.MinVersion = tls.VersionTLS13
	c.NextProtos = []string{forRaft.alpn(), forRPC.alpn()}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	if c.ClientCAs == nil {
		c.ClientCAs = c.RootCAs
	}
	return c
}

// clientTLS is base made fit for dialing. want is the node that must answer;
// empty: any node whose certificate the authority signed, which the hello then names.
func clientTLS(base *tls.Config, p purpose, want string) *tls.Config {
	c := base.Clone()
	c.MinVersion = tls.VersionTLS13
	c.NextProtos = []string{p.alpn()}
	c.ServerName = want
	// crypto/tls ties the check of the chain to the check of a name that is known
	// before, and takes node ids that are no host names for errors. So the chain is
	// verified here, always, and the name by verifyIdentity.
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("the peer presented no certificate")
		}
		opts := x509.VerifyOptions{Roots: base.RootCAs, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		if base.Time != nil {
			opts.CurrentTime = base.Time()
		}
		for _, cert := range s.PeerCertificates[1:] {
			opts.Intermediates.AddCert(cert)
		}
		if _, err := s.PeerCertificates[0].Verify(opts); err != nil {
			return err
		}
		if want == "" {
			return nil
		}
		return verifyIdentity(s, want)
	}
	return c
}

// verifyIdentity checks that the peer's certificate bears the node id as a DNS name.
func verifyIdentity(s tls.ConnectionState, name string) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the peer presented no certificate")
	}
	if names := s.PeerCertificates[0].DNSNames; !slices.Contains(names, name) {
		return fmt.Errorf("the peer says it is node %q, but its certificate names %q", name, names)
	}
	return nil
}
