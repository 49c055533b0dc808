package fsm

import "time"

// Limits of the domain. Each is enforced where a command is validated, so that
// no replica ever holds more.
const (
	MaxAmount          = int64(1_000_000_000_000_000_000) // 10^18, the largest amount of one request
	MaxDepth           = 32                               // levels of a tree, the root being the first
	MaxIDBytes         = 128                              // an id of anything a caller names
	MaxNameBytes       = 256                              // a display name
	MaxMetadataPairs   = 32                               // entries of a metadata map
	MaxMetadataBytes   = 4 << 10                          // keys and values of a metadata map, together
	MaxScope           = 8                                // ids in an assignment's scope
	MaxThresholds      = 16                               // alert thresholds of an assignment
	MaxParents         = 64                               // parents an entity type may list
	MaxEntityTypes     = 1_000                            // in the whole cluster
	MaxCapabilities    = 1_000                            // in the whole cluster
	MaxBulk            = 1_000                            // items of one bulk write
	MaxCallEntities    = 16                               // entities one call may name
	MaxCallUsage       = 32                               // capabilities one call may carry
	MaxCallAssignments = 512                              // matching assignments of one call
	MaxBackfillLines   = 1_000_000                        // ledger lines one backfill may read
	MaxCommandBytes    = 16 << 20                         // one encoded command
	DefaultShares      = 5                                // S of LEASES.md: birth slices are limit/2S
)

// Times of the domain.
const (
	// DefaultMaxStaleness is how long a node may decide without having heard
	// from a leader. It is part of the replicated settings, because what a
	// removed node may still give out depends on it.
	DefaultMaxStaleness = 10 * time.Second
	// MaxFuture bounds how far an event's time may lie ahead of the node's clock.
	MaxFuture = 5 * time.Minute
	// MaxPast bounds how far back an event's time may lie.
	MaxPast = 400 * 24 * time.Hour
	// MinReserveTTL and MaxReserveTTL bound a reservation's life.
	MinReserveTTL = time.Second
	MaxReserveTTL = time.Hour
)
