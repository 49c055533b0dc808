// Package client asks a Bursar cluster whether an AI call may be spent, records
// what it cost, and configures budgets.
//
// # One call
//
// Make one Client for the process and keep it. Around each call:
//
//	c, err := client.New(client.Options{
//		Endpoints: []string{"http://10.0.0.1:7070", "http://10.0.0.2:7070", "http://10.0.0.3:7070"},
//		Token:     os.Getenv("BURSAR_TOKEN"),
//	})
//	…
//	r, err := c.Reserve(ctx, client.CheckRequest{
//		Account: "acme", Entities: []string{"alice"}, Usage: client.Usage{"tokens": 1200},
//	}, time.Minute)
//	if denied, ok := errors.AsType[*client.DeniedError](err); ok {
//		return refuse(denied.Decision) // who had no room, how much there was, when it resets
//	}
//	if err != nil {
//		return err // no decision: the call must not be made
//	}
//	defer r.Release(ctx) // does nothing after a Commit
//	reply, err := model.Call(…)
//	…
//	err = r.Commit(ctx, client.Usage{"requests": 1, "input_tokens": 800, "output_tokens": 400})
//
// Amounts are integers in the capability's smallest unit: usd has 9 decimals, so
// $1.50 is 1500000000. A decision is never an error, whichever way it goes,
// except that Reserve returns a refusal as a *DeniedError.
//
// # Recording for next to nothing
//
// A Recorder sends events in batches in the background. Record costs one
// encoding:
//
//	rec := c.NewRecorder(client.RecorderOptions{})
//	defer rec.Close(ctx) // sends what there is; what it cannot, it hands back
//	…
//	err = rec.Record(ctx, r.Event(used))
//
// Its memory is bounded. When it is full, Record waits (Block) or returns
// ErrRecorderFull (Refuse). No event is dropped without its owner being told.
//
// # What is retried, and why nothing is charged twice
//
//   - An event has one id and one body from the moment it is sealed, and Bursar
//     counts an id once, so an ingest, a Commit and a Recorder's batch are
//     repeated after any failure.
//   - A check without a reservation changes nothing and is repeated; a rate limit may count it twice.
//   - A reserve whose answer is lost may leave a hold behind. It charges nothing
//     and ends with its ttl, but keeps its amount from others until then. One lost answer is
//     retried, a second is returned as ErrOutcomeUnknown.
//   - Release and Extend may be repeated, and are.
//   - On the control plane puts, deletes and reads are repeated; CreateToken and the
//     cluster's verbs only if the request provably never arrived.
//
// A 503 is retried at once on another node: it says that this node cannot
// decide. A 429 leaves its node alone for as long as it says and up to a quarter longer; one to an ingest
// does so with ingests only, of which none is sent meanwhile if every node has asked for a rest. Otherwise an endpoint is tried
// again after a backoff with jitter. All retries of a Client together stay below a fifth of its
// calls (after a burst of 20), so that it does not bury a cluster that is down.
//
// # Several endpoints
//
// Each try goes to the cheaper of two endpoints drawn at random, by latency and
// work under way. One that fails is left out until its /readyz says that it is ready,
// looked at in the background at growing intervals; if all are out, they are tried nevertheless.
//
// # When Bursar is away
//
// FailClosed, the default, returns an error that matches ErrUnavailable: the
// call must not be made. FailOpen grants it, with Degraded set; limits do not
// hold then. A refused token or a malformed request is an error under both.
//
// # Errors
//
// Every error answer is a *Problem with a stable Code; sentinels such as
// ErrNotFound match it through errors.Is. *UnavailableError is the absence of an answer; it
// matches ErrUnavailable, and ErrOutcomeUnknown if something may have happened all the same. When
// the caller's context ends, its error is returned. No error holds a token.
//
// # Files
//
//	wire.go, wire_data.go    the contract's JSON, shared with the servers
//	client.go                Client: Check, Checks, Ingest
//	reservation.go           Reserve, Commit, Release, Extend
//	recorder.go, recorder_send.go  Recorder
//	admin*.go                Admin: the control plane
//	call.go, stream.go       one call: tries, retries, what an answer means
//	endpoint.go              which endpoint, and which not
//	problem.go, codec.go, options.go, id.go
//
// The package imports no other package of Bursar's.
package client
