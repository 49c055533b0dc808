package main

import (
	"strings"
	"testing"
	"time"
)

// loopbackServe is a command line that is right, for tests to spoil.
func loopbackServe() serveCmd {
	return serveCmd{
		NodeID: "node-1", DataDir: "/data",
		HTTPAddr: "127.0.0.1:7070", AdminAddr: "127.0.0.1:7080", PeerAddr: "127.0.0.1:7090", GossipAddr: "127.0.0.1:7091",
		Join: []string{"127.0.0.1:7191"}, BootstrapExpect: 3, InsecurePeers: true, StopTimeout: 30 * time.Second,
	}
}

func TestServeNamesTheFlagAndTheFix(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(*serveCmd)
		want  []string // in the error; none: valid
	}{
		{"right", func(*serveCmd) {}, nil},
		{"alone", func(c *serveCmd) { c.Join, c.BootstrapExpect = nil, 1 }, nil},
		{"restart or join only", func(c *serveCmd) { c.BootstrapExpect = 0 }, nil},
		{"any free port twice", func(c *serveCmd) { c.HTTPAddr, c.AdminAddr = "127.0.0.1:0", "127.0.0.1:0" }, nil},
		{"plane on every address", func(c *serveCmd) { c.HTTPAddr = ":7070" }, nil},
		{"ipv6 loopback", func(c *serveCmd) { c.PeerAddr, c.GossipAddr = "[::1]:7090", "localhost:7091" }, nil},
		{"no id", func(c *serveCmd) { c.NodeID = "" }, []string{"--node-id is missing"}},
		{"id in capitals", func(c *serveCmd) { c.NodeID = "Node" }, []string{`--node-id "Node"`, "lower-case"}},
		{"id with a slash", func(c *serveCmd) { c.NodeID = "../x" }, []string{"--node-id"}},
		{"id too long", func(c *serveCmd) { c.NodeID = strings.Repeat("n", maxNodeID+1) }, []string{"--node-id"}},
		{"id of the longest length", func(c *serveCmd) { c.NodeID = strings.Repeat("n", maxNodeID) }, nil},
		{"no directory", func(c *serveCmd) { c.DataDir = "" }, []string{"--data-dir is missing"}},
		{"address without port", func(c *serveCmd) { c.HTTPAddr = "127.0.0.1" }, []string{`--http-addr "127.0.0.1"`, "host:port"}},
		{"port too large", func(c *serveCmd) { c.AdminAddr = "127.0.0.1:65536" }, []string{"--admin-addr", "65535"}},
		{"peers dial nothing", func(c *serveCmd) { c.PeerAddr = "0.0.0.0:7090" }, []string{"--peer-addr", "other nodes dial"}},
		{"peers dial a forwarder", func(c *serveCmd) { c.PeerAddr, c.PeerAdvertiseAddr = "0.0.0.0:7090", "127.0.0.1:17090" }, []string{"--insecure-peers is refused because 0.0.0.0:7090"}},
		{"forwarder on loopback", func(c *serveCmd) { c.PeerAdvertiseAddr = "127.0.0.1:17090" }, nil},
		{"forwarder without a port", func(c *serveCmd) { c.PeerAdvertiseAddr = "127.0.0.1" }, []string{`--peer-advertise-addr "127.0.0.1"`}},
		{"forwarder elsewhere, insecure", func(c *serveCmd) { c.PeerAdvertiseAddr = "10.0.0.1:7090" }, []string{"--insecure-peers is refused because 10.0.0.1:7090"}},
		{"gossip dials nothing", func(c *serveCmd) { c.GossipAddr = ":7091" }, []string{"--gossip-addr", "other nodes dial"}},
		{"one port for two", func(c *serveCmd) { c.AdminAddr = c.HTTPAddr }, []string{"--http-addr and --admin-addr", "another port"}},
		{"join without port", func(c *serveCmd) { c.Join = []string{"10.0.0.1"} }, []string{`--join "10.0.0.1"`}},
		{"neither join nor bootstrap", func(c *serveCmd) { c.Join, c.BootstrapExpect = nil, 0 }, []string{"--join or --bootstrap-expect"}},
		{"bootstrap three alone", func(c *serveCmd) { c.Join = nil }, []string{"--bootstrap-expect 3 needs --join"}},
		{"bootstrap too many", func(c *serveCmd) { c.BootstrapExpect = maxBootstrapExpect + 1 }, []string{"--bootstrap-expect 8"}},
		{"no security", func(c *serveCmd) { c.InsecurePeers = false }, []string{"--tls-ca, --tls-cert and --tls-key", "bursar certs"}},
		{"half of TLS", func(c *serveCmd) { c.InsecurePeers, c.TLSCA, c.TLSCert = false, "ca", "cert" }, []string{"--tls-key"}},
		{"both", func(c *serveCmd) { c.TLSCA = "ca" }, []string{"exclude one another"}},
		{"profiles on loopback", func(c *serveCmd) { c.PprofAddr = "127.0.0.1:0" }, nil},
		{"profiles for all", func(c *serveCmd) { c.PprofAddr = ":6060" }, []string{`--pprof-addr ":6060" is refused`, "127.0.0.1:PORT"}},
		{"profiles elsewhere", func(c *serveCmd) { c.PprofAddr = "10.0.0.1:6060" }, []string{`--pprof-addr "10.0.0.1:6060" is refused`}},
		{"profiles nowhere", func(c *serveCmd) { c.PprofAddr = "6060" }, []string{`--pprof-addr "6060": give it as host:port`}},
		{"insecure peer elsewhere", func(c *serveCmd) { c.PeerAddr = "10.0.0.1:7090" }, []string{"--insecure-peers is refused because 10.0.0.1:7090"}},
		{"insecure gossip elsewhere", func(c *serveCmd) { c.GossipAddr = "node:7091" }, []string{"--insecure-peers is refused because node:7091"}},
		{"insecure join elsewhere", func(c *serveCmd) { c.Join = []string{"127.0.0.1:1", "10.0.0.1:2"} }, []string{"--insecure-peers is refused because 10.0.0.1:2"}},
		{"short gossip key", func(c *serveCmd) { c.GossipKey = "AAAA" }, []string{"--gossip-key", "bursar certs gossip-key"}},
		{"delay as long as the timeout", func(c *serveCmd) { c.StopDelay = c.StopTimeout }, []string{"--stop-delay"}},
		{"two mistakes at once", func(c *serveCmd) { c.NodeID, c.DataDir = "", "" }, []string{"--node-id", "--data-dir"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := loopbackServe()
			tt.spoil(&c)
			err := c.Validate()
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("Validate() = %v, want an error: %v", err, tt.want != nil)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("Validate() = %v\nlacks %q", err, part)
				}
			}
		})
	}
}

func TestSecretsAreNotQuotedInErrors(t *testing.T) {
	c := loopbackServe()
	c.GossipKey = "not-a-key-but-secret"
	if err := c.Validate(); err == nil || strings.Contains(err.Error(), c.GossipKey) {
		t.Errorf("Validate() = %v, want an error without the key", err)
	}
	t.Setenv(rootTokenEnv, "short-secret")
	if _, err := rootTokenFromEnv(); err == nil || strings.Contains(err.Error(), "short-secret") {
		t.Errorf("rootTokenFromEnv() = %v, want an error without the token", err)
	}
}
