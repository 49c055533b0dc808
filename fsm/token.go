package fsm

// Role is what a token may do.
type Role string

// The roles.
const (
	RoleRoot    Role = "root"    // everything, both planes
	RoleAdmin   Role = "admin"   // the control plane
	RoleAuditor Role = "auditor" // reads of the control plane
	RoleService Role = "service" // the data plane
)

// Token is an access token as stored: its secret exists only as a digest.
type Token struct {
	ID        string   `msgpack:"id"` // "tok_" and a ULID
	Name      string   `msgpack:"name"`
	Role      Role     `msgpack:"role"`
	Account   string   `msgpack:"account,omitempty"` // empty: all accounts
	Digest    [32]byte `msgpack:"digest"`            // SHA-256 of the secret
	ExpiresAt int64    `msgpack:"expires_at,omitempty"`
	CreatedAt int64    `msgpack:"created_at"`
}

// AuditEntry records one accepted change of the configuration. From and To are
// JSON documents in the API's shape, without secrets.
type AuditEntry struct {
	Seq     uint64   `msgpack:"seq"`
	At      int64    `msgpack:"at"`
	Actor   Actor    `msgpack:"actor"`
	Action  string   `msgpack:"action"` // "assignment.put", "entity.move", …
	Account string   `msgpack:"account,omitempty"`
	Target  string   `msgpack:"target"`
	From    []byte   `msgpack:"from,omitempty"`
	To      []byte   `msgpack:"to,omitempty"`
	Index   uint64   `msgpack:"index"`
	Hash    [32]byte `msgpack:"hash"` // SHA-256 over the previous hash and this entry's encoding
}
