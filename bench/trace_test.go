package bench

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestReadTraceKeepsTimesAndTokens(t *testing.T) {
	f, err := os.Open("testdata/azure_code_2000.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	calls, err := ReadTrace(f)
	if err != nil {
		t.Fatal(err)
	}
	if len(calls) != 2000 {
		t.Fatalf("%d calls, want 2000", len(calls))
	}
	want := TraceCall{Offset: 52 * time.Millisecond, Input: 3180, Output: 8} // 18:17:04.0319600 − 18:17:03.9799600
	if calls[1] != want {
		t.Errorf("second call %+v, want %+v", calls[1], want)
	}
}

func TestReadTraceNamesTheLineAndTheField(t *testing.T) {
	const head = traceHeader + "\n"
	for _, c := range []struct{ name, in, want string }{
		{"empty", "", "is empty"},
		{"header", "a,b,c\n", "line 1: header"},
		{"only a header", head, "no calls"},
		{"fields", head + "2023-11-16 18:17:03,1\n", "line 2: 2 fields"},
		{"time", head + "yesterday,1,2\n", `line 2: TIMESTAMP "yesterday"`},
		{"fraction", head + "2023-11-16 18:17:03,1.5,2\n", `line 2: ContextTokens "1.5"`},
		{"negative", head + "2023-11-16 18:17:03,1,-2\n", `line 2: GeneratedTokens "-2"`},
		{"order", head + "2023-11-16 18:17:03,1,2\n2023-11-16 18:17:02,1,2\n", "line 3: TIMESTAMP is before"},
		{"long line", head + strings.Repeat("9", maxTraceLineBytes+1), "line 2: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadTrace(strings.NewReader(c.in))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func FuzzReadTrace(f *testing.F) {
	f.Add(traceHeader + "\n2023-11-16 18:17:03.9799600,4808,10\n")
	f.Fuzz(func(t *testing.T, in string) {
		calls, err := ReadTrace(strings.NewReader(in))
		if err == nil && len(calls) == 0 {
			t.Fatal("no calls and no error")
		}
		for i := 1; i < len(calls); i++ {
			if calls[i].Offset < calls[i-1].Offset {
				t.Fatalf("call %d goes back in time", i)
			}
		}
	})
}
