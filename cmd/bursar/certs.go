package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// Terms of what is issued.
const (
	caValidity     = 10 * 365 * 24 * time.Hour
	clockAllowance = time.Hour // certificates begin this much in the past: clocks differ
	gossipKeyBytes = 32        // AES-256
)

// certsCmd is `bursar certs`.
type certsCmd struct {
	Make      certsMakeCmd `cmd:"" default:"withargs" help:"Make certificates for nodes, and the authority that signs them if there is none yet."`
	GossipKey gossipKeyCmd `cmd:"" help:"Print a new key for --gossip-key."`
}

// certsMakeCmd is `bursar certs NODE-ID …`.
type certsMakeCmd struct {
	NodeIDs      []string `arg:"" name:"node-id" help:"Ids of the nodes; each gets a certificate with its id as the DNS name."`
	Dir          string   `help:"Where the files go: ca.pem, ca-key.pem, and for each node ID.pem and ID-key.pem." default:"certs" type:"path"`
	Validity     int      `help:"Days a node's certificate is good for." default:"365" name:"days"`
	Force        bool     `help:"Replace node certificates that exist. The authority is never replaced: all its certificates would be void." xor:"existing"`
	SkipExisting bool     `help:"Keep node certificates that exist, and make the others." xor:"existing"`
}

// Validate implements kong's hook.
func (c *certsMakeCmd) Validate() error {
	for _, id := range c.NodeIDs {
		if !validNodeID(id) {
			return fmt.Errorf("%q cannot be a node id: %s", id, nodeIDRule)
		}
		if id == "ca" || strings.HasSuffix(id, "-key") {
			return fmt.Errorf("a node cannot be called %q: its files would have the names of others", id)
		}
	}
	if limit := int(caValidity.Hours() / 24); c.Validity < 1 || c.Validity > limit {
		return fmt.Errorf("--days %d: choose 1 to %d", c.Validity, limit)
	}
	return nil
}

// Run makes the files.
func (c *certsMakeCmd) Run(k *kong.Context) error {
	if err := os.MkdirAll(c.Dir, modeDir); err != nil {
		return err
	}
	var missing []string
	for _, id := range c.NodeIDs {
		found, err := c.found(id)
		switch {
		case err != nil:
			return err
		case found == 2 && c.SkipExisting:
			continue
		case found > 0 && !c.Force && !c.SkipExisting:
			return fmt.Errorf("the certificate or key of %s exists in %s: --force replaces it, --skip-existing keeps it", id, c.Dir)
		}
		missing = append(missing, id)
	}
	ca, err := c.authority(k)
	if err != nil {
		return err
	}
	for _, id := range missing {
		if err := c.issue(ca, id); err != nil {
			return err
		}
		fmt.Fprintf(k.Stdout, "%s\n%s\n", c.certPath(id), c.keyPath(id))
	}
	return nil
}

// found counts which of the node's two files exist. Half a pair, left by a run
// that was cut short, is nothing to skip.
func (c *certsMakeCmd) found(id string) (count int, err error) {
	for _, path := range []string{c.certPath(id), c.keyPath(id)} {
		switch _, err := os.Lstat(path); {
		case err == nil:
			count++
		case !errors.Is(err, os.ErrNotExist):
			return 0, err
		}
	}
	return count, nil
}

// authority is a certificate that signs others, with its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// authority reads the directory's authority or makes one. Half an authority is an error.
func (c *certsMakeCmd) authority(k *kong.Context) (*authority, error) {
	certPEM, certErr := os.ReadFile(c.certPath("ca"))
	keyPEM, keyErr := os.ReadFile(c.keyPath("ca"))
	if errors.Is(certErr, os.ErrNotExist) && errors.Is(keyErr, os.ErrNotExist) {
		return c.makeAuthority(k)
	}
	if err := errors.Join(certErr, keyErr); err != nil {
		return nil, fmt.Errorf("the authority needs both of its files: %w", err)
	}
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.certPath("ca"), err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.keyPath("ca"), err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s and %s do not belong together", c.certPath("ca"), c.keyPath("ca"))
	}
	return &authority{cert, key}, nil
}

func (c *certsMakeCmd) makeAuthority(k *kong.Context) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serialNumber(),
		Subject:               pkix.Name{CommonName: "Bursar peers"},
		NotBefore:             now.Add(-clockAllowance),
		NotAfter:              now.Add(caValidity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if err := c.write("ca", der, key); err != nil {
		return nil, err
	}
	fmt.Fprintf(k.Stdout, "%s\n%s\n", c.certPath("ca"), c.keyPath("ca"))
	return &authority{cert, key}, nil
}

// issue makes one node's certificate. It serves both sides of a connection.
func (c *certsMakeCmd) issue(ca *authority, id string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	end := now.Add(time.Duration(c.Validity) * 24 * time.Hour)
	if end.After(ca.cert.NotAfter) {
		end = ca.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber:          serialNumber(),
		Subject:               pkix.Name{CommonName: id},
		DNSNames:              []string{id},
		NotBefore:             now.Add(-clockAllowance),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return err
	}
	return c.write(id, der, key)
}

// write stores a certificate and its key, the key first: a certificate without
// its key would be used and fail.
func (c *certsMakeCmd) write(name string, der []byte, key *ecdsa.PrivateKey) error {
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePrivate(c.keyPath(name), pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: keyDER})); err != nil {
		return err
	}
	return writePrivate(c.certPath(name), pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der}))
}

func (c *certsMakeCmd) certPath(name string) string { return filepath.Join(c.Dir, name+".pem") }
func (c *certsMakeCmd) keyPath(name string) string  { return filepath.Join(c.Dir, name+"-key.pem") }

// The PEM block types in use.
const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY"
)

func parseCertificate(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != pemCertificate {
		return nil, errors.New("not a PEM certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

func parseKey(data []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != pemKey {
		return nil, errors.New("not a PEM private key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an ECDSA key")
	}
	return ec, nil
}

// serialNumber returns 128 random bits.
func serialNumber() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return new(big.Int).SetBytes(b[:])
}

// gossipKeyCmd is `bursar certs gossip-key`.
type gossipKeyCmd struct{}

// Run prints the key.
func (gossipKeyCmd) Run(k *kong.Context) error {
	var key [gossipKeyBytes]byte
	rand.Read(key[:]) // never fails
	_, err := fmt.Fprintln(k.Stdout, base64.StdEncoding.EncodeToString(key[:]))
	return err
}
