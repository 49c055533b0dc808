package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
)

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
