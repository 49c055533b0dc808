package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/bursar-dev/bursar/client"
)

// Once a release or an ingest has been answered, what it set free is room for
// anyone: whichever nodes took part, the next check anywhere is not refused. It
// may find that the room is still on its way; then it is told so (503), and gets it soon.
func TestRoomSetFreeIsNeverRefusedOnceThatIsAnswered(t *testing.T) {
	notShort(t)
	const (
		team   = "team"
		limit  = 1_000_000
		spend  = 10_000 // used of each reservation of all that is left
		rounds = 200
	)
	c := startCluster(t, 3, nil)
	c.makeTeam(team, limit)
	n, undecided := len(c.nodes), 0
	url := func(i int, path string) string { return "http://" + c.nodes[i%n].http + path }
	reserve := func(i int, amount int64) client.CheckResponse {
		for until := time.Now().Add(10 * time.Second); ; {
			var d client.CheckResponse
			err := c.call(http.MethodPost, url(i, "/v1/check"), client.CheckRequest{
				Account: testAccount, Entities: []string{team + "-user"}, Usage: client.Usage{"requests": amount}, ReserveTTLMS: 60_000,
			}, &d)
			if err == nil {
				return d
			}
			undecided++
			if time.Now().After(until) {
				t.Fatalf("no decision: %v", err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	for i := range rounds {
		whole := reserve(i, limit)
		if !whole.Allowed {
			t.Fatalf("round %d: everything is free and was refused: %+v", i, whole.DeniedBy)
		}
		if again := reserve(i+1, 1); again.Allowed {
			t.Fatalf("round %d: everything was taken and more was granted", i)
		}
		var released client.ReleaseResponse
		if err := c.call(http.MethodPost, url(i+i/n, "/v1/reservations/"+whole.Reservation+"/release"), nil, &released); err != nil {
			t.Fatal(err)
		}
	}
	// The same for what an event leaves of its reservation.
	used := int64(0)
	for i := 0; used < limit; i++ {
		hold := reserve(i, limit-used)
		if !hold.Allowed {
			t.Fatalf("event %d: %d of %d are used and the rest was refused: %+v", i, used, limit, hold.DeniedBy)
		}
		var taken client.IngestResponse
		event := client.Event{ID: "evt-" + ulid.Make().String(), Account: testAccount, Entities: []string{team + "-user"},
			Usage: client.Usage{"requests": spend}, Reservation: hold.Reservation}
		if err := c.call(http.MethodPost, url(i+i/n+1, "/v1/ingest"), client.IngestRequest{Events: []client.Event{event}}, &taken); err != nil || taken.Accepted != 1 {
			t.Fatalf("ingest: %+v %v", taken, err)
		}
		used += spend
	}
	t.Logf("%d checks were told to try again", undecided)
	c.settles(team, used, 20*time.Second)
}
