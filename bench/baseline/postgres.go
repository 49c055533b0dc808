package baseline

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lib/pq"
)

// postgresSchema is %s: a schema of the run's own. Both functions are one
// transaction and one round trip. charge goes up the chain from the caller, so
// that two calls meet in the same order and never deadlock; the root's row is
// locked last, for the time of the commit alone. record adds a batch up first, so
// that each balance is written once a batch.
const postgresSchema = `
CREATE SCHEMA %[1]s;
SET search_path = %[1]s;
CREATE TABLE budget (entity text PRIMARY KEY, lim bigint NOT NULL, used bigint NOT NULL) WITH (fillfactor = 50);
CREATE TABLE line (event_id text PRIMARY KEY, caller text NOT NULL, amount bigint NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE TABLE member (caller text, entity text, PRIMARY KEY (caller, entity));

CREATE FUNCTION charge(id text, chain text[], n bigint) RETURNS boolean LANGUAGE plpgsql SET search_path = %[1]s AS $$
DECLARE e text;
BEGIN
  INSERT INTO line (event_id, caller, amount) VALUES (id, chain[1], n) ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN RETURN true; END IF;
  FOREACH e IN ARRAY chain LOOP
    UPDATE budget SET used = used + n WHERE entity = e AND used + n <= lim;
    IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = 'BU001', MESSAGE = 'budget_exhausted'; END IF;
  END LOOP;
  RETURN true;
END $$;

CREATE FUNCTION record(ids text[], callers text[], amounts bigint[]) RETURNS void LANGUAGE plpgsql SET search_path = %[1]s AS $$
BEGIN
  PERFORM 1 FROM budget WHERE entity IN (SELECT m.entity FROM member m WHERE m.caller = ANY (callers)) ORDER BY entity FOR UPDATE;
  WITH fresh AS (
    INSERT INTO line (event_id, caller, amount) SELECT * FROM unnest(ids, callers, amounts) ON CONFLICT DO NOTHING RETURNING caller, amount
  ), sums AS (
    SELECT m.entity, sum(f.amount) AS n FROM fresh f JOIN member m USING (caller) GROUP BY m.entity
  )
  UPDATE budget b SET used = b.used + s.n FROM sums s WHERE b.entity = s.entity;
END $$;`

// exhausted is the error that charge rolls its transaction back with.
const exhausted = "BU001"

// Postgres keeps balances and a line an event.
type Postgres struct {
	db     *sql.DB
	schema string
	commit string // synchronous_commit
	chains [][]string

	charge, record *sql.Stmt
}

// OpenPostgres connects to a server by its URL (postgres://user@host:port/db). What is made stands in a schema of its own.
func OpenPostgres(ctx context.Context, url, schema string, connections int) (*Postgres, error) {
	db, err := sql.Open("postgres", url)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	p := &Postgres{db: db, schema: pq.QuoteIdentifier(schema)}
	if err := db.QueryRowContext(ctx, "SHOW synchronous_commit").Scan(&p.commit); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return p, nil
}

// pingPostgres succeeds once a server answers queries.
func pingPostgres(ctx context.Context, url string) error {
	db, err := sql.Open("postgres", url)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.PingContext(ctx)
}

// Name implements Store.
func (p *Postgres) Name() string { return "PostgreSQL, synchronous_commit " + p.commit }

// Setup implements Store.
func (p *Postgres) Setup(ctx context.Context, t Tree) (err error) {
	p.chains = t.Chains
	var callers, entities []string
	seen := map[string]bool{}
	var all []string
	for _, chain := range t.Chains {
		for _, e := range chain {
			callers, entities = append(callers, chain[0]), append(entities, e)
			if !seen[e] {
				seen[e], all = true, append(all, e)
			}
		}
	}
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after a commit
	if _, err := tx.ExecContext(ctx, fmt.Sprintf(postgresSchema, p.schema)); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO budget SELECT unnest($1::text[]), $2, 0", pq.Array(all), t.Limit); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO member SELECT * FROM unnest($1::text[], $2::text[])", pq.Array(callers), pq.Array(entities)); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	if p.charge, err = p.db.PrepareContext(ctx, "SELECT "+p.schema+".charge($1, $2, $3)"); err != nil {
		return err
	}
	p.record, err = p.db.PrepareContext(ctx, "SELECT "+p.schema+".record($1, $2, $3)")
	return err
}

// Charge implements Store: insert the line if it is new, update the balances if all have room.
func (p *Postgres) Charge(ctx context.Context, e Event) (bool, error) {
	_, err := p.charge.ExecContext(ctx, e.ID, pq.Array(p.chains[e.Caller]), e.Amount)
	if refusal, ok := errors.AsType[*pq.Error](err); ok && string(refusal.Code) == exhausted {
		return false, nil
	}
	return err == nil, err
}

// Record implements Store: one transaction a batch.
func (p *Postgres) Record(ctx context.Context, events []Event) error {
	ids, callers, amounts := make([]string, len(events)), make([]string, len(events)), make([]int64, len(events))
	for i, e := range events {
		ids[i], callers[i], amounts[i] = e.ID, p.chains[e.Caller][0], e.Amount
	}
	_, err := p.record.ExecContext(ctx, pq.Array(ids), pq.Array(callers), pq.Array(amounts))
	return err
}

// Used implements Store.
func (p *Postgres) Used(ctx context.Context, entity string) (used int64, err error) {
	err = p.db.QueryRowContext(ctx, "SELECT used FROM "+p.schema+".budget WHERE entity = $1", entity).Scan(&used)
	return used, err
}

// Close implements Store.
func (p *Postgres) Close() error {
	_, err := p.db.Exec("DROP SCHEMA IF EXISTS " + p.schema + " CASCADE")
	return errors.Join(err, p.db.Close())
}
