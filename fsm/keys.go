package fsm

import (
	"encoding/binary"
	"fmt"
)

// The store's key layout. The first byte is the table. Numbers are big-endian, so
// that keys sort as the numbers do. Ids never contain a NUL (validation sees to
// it); one that is followed by more is ended by a NUL, so "a" sorts before "ab"
// and the range of one account is exact. An event id and a reservation id may
// hold any byte: they come last.
//
//	0x01 name                       meta: "format" (bare number), "applied" (see appliedMark), "counters", "version" (see state.version)
//	's'                             settings
//	'n' node u16                    node
//	'f' node u16                    releases seen of the node's present boot
//	'a' account                     account
//	'e' account NUL entity          entity
//	'y' type                        entity type
//	'c' capability                  capability (built-in ones are not stored)
//	'i' num u64                     assignment
//	'j' account NUL assignment-id   assignment number, so that an account's list is a range
//	'b' num u64, start i64          budget: one period of assignment num
//	't' token-id                    token
//	'$' version u64                 version of the price book
//	'%' version u64                 its map: the bare list of entries
//	'u' seq u64                     audit entry
//	'l' account NUL seq u64         ledger line
//	'h' account                     ledger mark: where the chain of its lines begins (see chain.go), how long they are kept and how far they are gone (see retain.go)
//	'd' account NUL dimension u8, value, NUL, block u64   block of the ledger that has a line with the value: nothing (see ledger_index.go)
//	'z' account NUL level u8, stride u64   times of the lines of a stride of the ledger
//	'x' account NUL NUL             first block of the ledger that the index covers: the bare number
//	'v' account NUL event-id        event dedup: body hash and ledger sequence
//	'r' hour u32, account/reservation  reservation settled in that hour: the time
//	'q' slot u16                    command memory: a ring of the latest outcomes
//	'x' account NUL seq u64, seq u64   the second of these ledger lines corrects the first
//	'k' account NUL correction-id   correction: its hash and ledger sequence
//	'w' account NUL bucket u8, dimension u8, start i64, value, NUL 0x01, model   rollup (see rollup.go)
//	'm' account NUL from i64         head of the statement of the month that begins then
//	'o' account NUL from i64         rows of that statement
//	'p' account                     invoice settings
//
// Values are a version byte and msgpack, except where noted.
const (
	tableMeta         = 0x01
	tableSettings     = 's'
	tableNode         = 'n'
	tableReleases     = 'f'
	tableAccount      = 'a'
	tableEntity       = 'e'
	tableEntityType   = 'y'
	tableCapability   = 'c'
	tableAssignment   = 'i'
	tableAssignmentID = 'j'
	tableBudget       = 'b'
	tableToken        = 't'
	tablePriceVersion = '$'
	tablePriceMap     = '%'
	tableAudit        = 'u'
	tableLedger       = 'l'
	tableLedgerMark   = 'h'
	tableIndex        = 'd'
	tableTimes        = 'z'
	tableIndexFrom    = 'x'
	tableEvent        = 'v'
	tableReservation  = 'r'
	tableMemory       = 'q'
	tableRollup       = 'w'
	tableCorrection   = 'x'
	tableCorrectionID = 'k'
	tableStatement    = 'm'
	tableRows         = 'o'
	tableInvoice      = 'p'
)

var (
	keyFormat   = []byte("\x01format")
	keyApplied  = []byte("\x01applied")
	keyCounters = []byte("\x01counters")
	keyVersion  = []byte("\x01version")
	keySettings = []byte{tableSettings}
)

// tableRange returns the bounds of a whole table, [lower, upper).
func tableRange(table byte) (lower, upper []byte) {
	return []byte{table}, []byte{table + 1}
}

// prefixRange returns the bounds of all keys that begin with prefix, [lower, upper).
func prefixRange(prefix []byte) (lower, upper []byte) {
	upper = append([]byte(nil), prefix...)
	for i := len(upper) - 1; i >= 0; i-- {
		if upper[i]++; upper[i] != 0 {
			return prefix, upper[:i+1]
		}
	}
	return prefix, nil
}

// after returns the least key greater than key.
func after(key []byte) []byte { return append(append([]byte(nil), key...), 0) }

func stringKey(table byte, id string) []byte {
	return append(append(make([]byte, 0, 1+len(id)), table), id...)
}

// accountPrefix begins the keys of one account in a table that is grouped by account.
func accountPrefix(table byte, account string) []byte {
	return appendAccount(make([]byte, 0, 2+len(account)+MaxIDBytes), table, account)
}

func appendAccount(b []byte, table byte, account string) []byte {
	return append(append(append(b, table), account...), 0)
}

func accountKey(id string) []byte    { return stringKey(tableAccount, id) }
func ledgerMarkKey(id string) []byte { return stringKey(tableLedgerMark, id) }
func entityTypeKey(id string) []byte { return stringKey(tableEntityType, id) }
func capabilityKey(id string) []byte { return stringKey(tableCapability, id) }
func tokenKey(id string) []byte      { return stringKey(tableToken, id) }

func entityKey(account, id string) []byte {
	return append(accountPrefix(tableEntity, account), id...)
}

func assignmentIDKey(account, id string) []byte {
	return append(accountPrefix(tableAssignmentID, account), id...)
}

func eventKey(account, id string) []byte { return appendEventKey(nil, account, id) }

func appendEventKey(b []byte, account, id string) []byte {
	return append(appendAccount(b, tableEvent, account), id...)
}

func ledgerKey(account string, seq uint64) []byte { return appendLedgerKey(nil, account, seq) }

func appendLedgerKey(b []byte, account string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendAccount(b, tableLedger, account), seq)
}

func correctionPrefix(account string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(accountPrefix(tableCorrection, account), seq)
}

func correctionKey(account string, seq, by uint64) []byte {
	return binary.BigEndian.AppendUint64(correctionPrefix(account, seq), by)
}

func correctionIDKey(account, id string) []byte {
	return append(accountPrefix(tableCorrectionID, account), id...)
}

func statementKey(account string, from int64) []byte {
	return binary.BigEndian.AppendUint64(accountPrefix(tableStatement, account), uint64(from)^(1<<63))
}

func statementRowsKey(account string, from int64) []byte {
	return binary.BigEndian.AppendUint64(accountPrefix(tableRows, account), uint64(from)^(1<<63))
}

func invoiceKey(account string) []byte { return stringKey(tableInvoice, account) }

func nodeKey(n NodeNum) []byte {
	return binary.BigEndian.AppendUint16([]byte{tableNode}, uint16(n))
}

func releasesKey(n NodeNum) []byte {
	return binary.BigEndian.AppendUint16([]byte{tableReleases}, uint16(n))
}

func assignmentKey(num uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{tableAssignment}, num)
}

func auditKey(seq uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{tableAudit}, seq)
}

func priceVersionKey(version uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{tablePriceVersion}, version)
}

func priceMapKey(version uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{tablePriceMap}, version)
}

func budgetPrefix(num uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 17), tableBudget), num)
}

// budgetKey flips the sign bit of the start, so that times before 1970 sort first.
func budgetKey(k BudgetKey) []byte { return appendBudgetRow(make([]byte, 0, 17), k) }

func appendBudgetRow(b []byte, k BudgetKey) []byte {
	b = binary.BigEndian.AppendUint64(append(b, tableBudget), k.Assignment)
	return binary.BigEndian.AppendUint64(b, uint64(k.Start)^(1<<63))
}

// splitBudgetKey is the reverse of budgetKey.
func splitBudgetKey(key []byte) (num uint64, start int64, err error) {
	if len(key) != 17 || key[0] != tableBudget {
		return 0, 0, fmt.Errorf("key %q is not that of a budget", key)
	}
	return binary.BigEndian.Uint64(key[1:]), int64(binary.BigEndian.Uint64(key[9:]) ^ (1 << 63)), nil
}

func reservationKey(hour uint32, id string) []byte {
	return append(binary.BigEndian.AppendUint32(append(make([]byte, 0, 5+len(id)), tableReservation), hour), id...)
}

func memoryKey(slot uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{tableMemory}, slot)
}
