package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bursar-dev/bursar/internal/memnet"
)

// authority signs nodes' certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key}
}

// issue makes a node's certificate and returns a source of the configuration with it.
func (a *authority) issue(node string) func() (*tls.Config, error) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, DNSNames: []string{node},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	c := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: pool, ClientCAs: pool}
	return func() (*tls.Config, error) { return c, nil }
}

// port is a peer port without a node behind it.
func port(t *testing.T, net_ *memnet.Network, name, claims string, source func() (*tls.Config, error)) *transport {
	t.Helper()
	c := Config{Name: name, PeerAddr: name + ":1", Network: net_.Host(name), TLS: source, Logger: testLogger()}
	p, err := listenPeers(&c)
	if err != nil {
		t.Fatal(err)
	}
	p.self = func() hello { return hello{Name: claims, Run: "run-" + name, Addr: p.advertise} }
	p.admit = func(purpose, hello) error { return nil }
	p.welcome = func(hello) {}
	p.serve = func(_ context.Context, c net.Conn, from caller) {
		c.Write([]byte(from.name + "\n"))
		io.Copy(io.Discard, c)
	}
	p.run()
	t.Cleanup(p.close)
	return p
}

func TestPeerPortAdmitsOnlyCertifiedNodesUnderTheirOwnName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, strangers := newAuthority(t), newAuthority(t)
		source := (*authority).issue
		n := memnet.New()
		server := port(t, n, "n1", "n1", source(ca, "n1"))
		for _, c := range []struct {
			name   string
			claims string
			tls    func() (*tls.Config, error)
			want   string // name asked for
			err    string // part of the error; empty: let in
		}{
			{"a", "a", source(ca, "a"), "n1", ""},
			{"b", "b", source(ca, "b"), "", ""},
			{"liar", "n2", source(ca, "liar"), "n1", "its certificate names"},
			{"stranger", "stranger", source(strangers, "stranger"), "n1", "unknown authority"},
			{"lost", "lost", source(ca, "lost"), "n2", "but its certificate names"},
			{"plain", "plain", nil, "n1", "EOF"},
		} {
			client := port(t, n, c.name, c.claims, c.tls)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			conn, w, err := client.dial(ctx, forRPC, target{name: c.want, addr: server.advertise})
			cancel()
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%s: %v, want %q", c.name, err, c.err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			b := make([]byte, len(c.claims))
			if _, err := io.ReadFull(conn, b); err != nil || string(b) != c.claims || w.Name != "n1" {
				t.Errorf("%s was taken for %q (%v), reached %q", c.name, b, err, w.Name)
			}
			conn.Close()
		}
		// The two protocols of the port must not be confused.
		client := port(t, n, "c", "c", source(ca, "c"))
		base, err := client.tls()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := client.network.Dial(t.Context(), server.advertise)
		if err != nil {
			t.Fatal(err)
		}
		conn := tls.Client(raw, clientTLS(base, forRaft, "n1"))
		writeGreeting(conn, byte(forRPC), hello{Name: "c"})
		var w welcome
		if status, err := readGreeting(conn, &w); err == nil && status == 0 {
			t.Error("a connection negotiated for raft was let in for requests")
		}
		raw.Close()
	})
}

func TestOtherNodeBehindAnAddressIsNoticedWithoutTLSToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		server, client := port(t, n, "n1", "n1", nil), port(t, n, "n2", "n2", nil)
		if _, _, err := client.dial(t.Context(), forRaft, target{name: "n3", addr: server.advertise}); err == nil || !strings.Contains(err.Error(), `not "n3"`) {
			t.Errorf("asking for n3 at n1's address: %v", err)
		}
		server.self = func() hello { return hello{Name: "n1", Cluster: "clu_a"} }
		client.self = func() hello { return hello{Name: "n2", Cluster: "clu_b"} }
		_, _, err := client.dial(t.Context(), forRPC, target{addr: server.advertise})
		if err == nil || !strings.Contains(err.Error(), "clu_a") || !strings.Contains(err.Error(), "clu_b") {
			t.Errorf("dialing another cluster's node: %v", err)
		}
	})
}

func TestSilentCallerIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		server := port(t, n, "n1", "n1", nil)
		raw, err := n.Host("x").Dial(t.Context(), server.advertise)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := raw.Read(make([]byte, 1)); err == nil {
			t.Error("a caller that says nothing was answered")
		}
		if took := time.Since(began); took != handshakeTimeout {
			t.Errorf("it was dropped after %v, want %v", took, handshakeTimeout)
		}
		raw.Close()
	})
}

func TestRenewedCertificatesAreUsedByTheNextConnectionWithoutARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, renewed := newAuthority(t), newAuthority(t)
		n := memnet.New()
		var source atomic.Pointer[func() (*tls.Config, error)]
		use := func(a *authority) { s := a.issue("n1"); source.Store(&s) }
		use(old)
		server := port(t, n, "n1", "n1", func() (*tls.Config, error) { return (*source.Load())() })
		client := port(t, n, "n2", "n2", renewed.issue("n2"))
		dial := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			conn, _, err := client.dial(ctx, forRPC, target{name: "n1", addr: server.advertise})
			if err == nil {
				conn.Close()
			}
			return err
		}
		if err := dial(); err == nil {
			t.Error("a node of another authority was let in")
		}
		use(renewed)
		if err := dial(); err != nil {
			t.Errorf("after the renewal: %v", err)
		}
	})
}
