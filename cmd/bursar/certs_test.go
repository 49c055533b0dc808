package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// makeCerts runs `bursar certs` for ids in dir.
func makeCerts(dir string, force bool, ids ...string) error {
	c := &certsMakeCmd{NodeIDs: ids, Dir: dir, Validity: 365, Force: force}
	if err := c.Validate(); err != nil {
		return err
	}
	return c.Run(&kong.Context{Kong: &kong.Kong{Stdout: io.Discard}})
}

func mustMakeCerts(t *testing.T, dir string, force bool, ids ...string) {
	t.Helper()
	if err := makeCerts(dir, force, ids...); err != nil {
		t.Fatal(err)
	}
}

// peerTLSOf loads the files that makeCerts made for id.
func peerTLSOf(dir, id, name string, log *slog.Logger) (*peerTLS, error) {
	return newPeerTLS(filepath.Join(dir, "ca.pem"), filepath.Join(dir, id+".pem"), filepath.Join(dir, id+"-key.pem"), name, log)
}

// handshake connects two nodes; the client expects to meet name.
func handshake(t *testing.T, server, client *peerTLS, name string) error {
	t.Helper()
	serverConfig, err := server.Config()
	if err != nil {
		t.Fatal(err)
	}
	clientConfig, err := client.Config()
	if err != nil {
		t.Fatal(err)
	}
	clientConfig = clientConfig.Clone()
	clientConfig.ServerName = name
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	accepted := make(chan error, 1)
	go func() {
		s := tls.Server(a, serverConfig)
		s.SetDeadline(time.Now().Add(5 * time.Second))
		err := s.Handshake()
		if err != nil {
			a.Close()
		}
		accepted <- err
	}()
	c := tls.Client(b, clientConfig)
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if err := c.Handshake(); err != nil {
		return err
	}
	return <-accepted
}

func TestCertsLetNodesKnowOneAnother(t *testing.T) {
	dir, foreign := t.TempDir(), t.TempDir()
	mustMakeCerts(t, dir, false, "node-1", "node-2")
	mustMakeCerts(t, dir, false, "node-3") // later, by the same authority
	mustMakeCerts(t, foreign, false, "node-1")
	log := slog.New(slog.DiscardHandler)
	nodes := map[string]*peerTLS{}
	for _, id := range []string{"node-1", "node-2", "node-3"} {
		p, err := peerTLSOf(dir, id, id, log)
		if err != nil {
			t.Fatal(err)
		}
		nodes[id] = p
	}
	stranger, err := peerTLSOf(foreign, "node-1", "node-1", log)
	if err != nil {
		t.Fatal(err)
	}
	if err := handshake(t, nodes["node-1"], nodes["node-2"], "node-1"); err != nil {
		t.Errorf("node-2 to node-1: %v", err)
	}
	if err := handshake(t, nodes["node-3"], nodes["node-1"], "node-3"); err != nil {
		t.Errorf("node-1 to node-3: %v", err)
	}
	if err := handshake(t, nodes["node-2"], nodes["node-1"], "node-3"); err == nil {
		t.Error("node-2 passed for node-3")
	}
	if err := handshake(t, stranger, nodes["node-2"], "node-1"); err == nil {
		t.Error("a server of another authority was accepted")
	}
	if err := handshake(t, nodes["node-1"], stranger, "node-1"); err == nil {
		t.Error("a client of another authority was accepted")
	}
}

func TestCertsArePrivateAndOfTheExpectedKind(t *testing.T) {
	dir := t.TempDir()
	mustMakeCerts(t, dir, false, "node-1")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 4 {
		t.Errorf("%d files, want 4", len(entries))
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != modePrivate {
			t.Errorf("%s has mode %v, want 0600 (%v)", e.Name(), info.Mode(), err)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "node-1.pem"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := parseCertificate(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(cert.DNSNames) != 1 || cert.DNSNames[0] != "node-1" || cert.PublicKeyAlgorithm != x509.ECDSA || cert.IsCA {
		t.Errorf("DNS names %v, algorithm %v, CA %v", cert.DNSNames, cert.PublicKeyAlgorithm, cert.IsCA)
	}
}

func TestCertsReplaceNothingUnasked(t *testing.T) {
	dir := t.TempDir()
	mustMakeCerts(t, dir, false, "node-1")
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	ca, cert := read("ca.pem"), read("node-1.pem")
	if err := makeCerts(dir, false, "node-2", "node-1"); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("a second run: %v, want a refusal that names --force", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node-2.pem")); err == nil {
		t.Error("a refused run made a certificate")
	}
	keep := &certsMakeCmd{NodeIDs: []string{"node-1", "node-2"}, Dir: dir, Validity: 365, SkipExisting: true}
	if err := keep.Run(&kong.Context{Kong: &kong.Kong{Stdout: io.Discard}}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(cert, read("node-1.pem")) || len(read("node-2.pem")) == 0 {
		t.Error("--skip-existing replaced a certificate")
	}
	mustMakeCerts(t, dir, true, "node-1")
	if bytes.Equal(cert, read("node-1.pem")) {
		t.Error("--force did not replace the certificate")
	}
	if !bytes.Equal(ca, read("ca.pem")) {
		t.Error("--force replaced the authority")
	}
	if err := os.Remove(filepath.Join(dir, "ca-key.pem")); err != nil {
		t.Fatal(err)
	}
	if err := makeCerts(dir, true, "node-1"); err == nil {
		t.Error("half an authority was replaced")
	}
}

func TestCertsRefuseNamesThatCollide(t *testing.T) {
	for _, id := range []string{"ca", "a-key", "../x", "", "UPPER"} {
		if err := makeCerts(t.TempDir(), false, id); err == nil {
			t.Errorf("certs %q was accepted", id)
		}
	}
}

func TestCertificateOfAnotherNodeIsRefusedAtStart(t *testing.T) {
	dir := t.TempDir()
	mustMakeCerts(t, dir, false, "node-1")
	_, err := peerTLSOf(dir, "node-1", "node-2", slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "--node-id node-2") || !strings.Contains(err.Error(), "bursar certs node-2") {
		t.Errorf("error %v, want one with the node id and what to do", err)
	}
}

func TestCertificatesAreReloadedAndBadOnesIgnored(t *testing.T) {
	dir := t.TempDir()
	mustMakeCerts(t, dir, false, "node-1")
	var logged bytes.Buffer
	p, err := peerTLSOf(dir, "node-1", "node-1", slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		config, err := p.Config()
		if err != nil {
			t.Fatal(err)
		}
		return config.Certificates[0].Leaf.SerialNumber.String()
	}
	first := serial()
	mustMakeCerts(t, dir, true, "node-1")
	second := serial()
	if first == second {
		t.Error("a renewed certificate was not used")
	}
	if err := os.WriteFile(filepath.Join(dir, "node-1.pem"), []byte("not a certificate, and longer than nothing"), modePrivate); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if serial() != second {
			t.Error("a damaged file replaced a good certificate")
		}
	}
	if n := strings.Count(logged.String(), "cannot be used"); n != 1 {
		t.Errorf("the damage was logged %d times, want once:\n%s", n, logged.String())
	}
	if err := os.Remove(filepath.Join(dir, "node-1.pem")); err != nil {
		t.Fatal(err)
	}
	if serial() != second {
		t.Error("a missing file replaced a good certificate")
	}
	mustMakeCerts(t, dir, true, "node-1")
	if third := serial(); third == second {
		t.Error("a repaired certificate was not used")
	}
}
