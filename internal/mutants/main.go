package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	only := flag.String("only", "", "plant only the bugs whose name matches this regular expression")
	list := flag.Bool("list", false, "say what each bug breaks and which test has to find it, and plant none")
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err != nil || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	root, err := moduleRoot(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	caught, tried := 0, 0
	for _, b := range bugs {
		switch {
		case !pattern.MatchString(b.name):
			continue
		case *list:
			fmt.Printf("%s\n    %s\n    %s: %s\n", b.name, b.breaks, b.pkg(), b.test)
			continue
		}
		tried++
		began := time.Now()
		found, err := b.plant(ctx, root)
		verdict := "caught"
		switch {
		case err != nil:
			verdict = "NOT PLANTED: " + err.Error()
		case !found:
			verdict = "SURVIVED"
		default:
			caught++
		}
		fmt.Printf("%-44s %-58s %5.1fs  %s\n", b.name, b.test, time.Since(began).Seconds(), verdict)
	}
	if *list {
		return
	}
	fmt.Printf("%d of %d planted bugs were caught\n", caught, tried)
	if caught < tried || tried == 0 {
		os.Exit(1)
	}
}

// moduleRoot returns the directory that the paths of the bugs start from.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	return strings.TrimSpace(string(out)), err
}

// bug is one planted bug.
type bug struct {
	name   string
	breaks string // the rule that is broken, and what that costs
	file   string // from the module's root
	old    string // occurs exactly once in the file
	new    string
	test   string // that has to fail; a function of the file's package, or of in
	in     string // folder of the test, where it is not the file's
}

func (b *bug) pkg() string {
	if b.in != "" {
		return "./" + b.in
	}
	return "./" + filepath.ToSlash(filepath.Dir(b.file))
}

// mutate returns the file with the bug in it.
func (b *bug) mutate(root string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(b.file)))
	if err != nil {
		return nil, err
	}
	if n := strings.Count(string(data), b.old); n != 1 {
		return nil, fmt.Errorf("%s has the text %d times, want once: %s", b.file, n, b.old)
	}
	return []byte(strings.Replace(string(data), b.old, b.new, 1)), nil
}

// testTimeout bounds one test; one that hangs has noticed, too.
const testTimeout = 3 * time.Minute

// plant runs the bug's test with the bug in place and reports whether it failed.
func (b *bug) plant(ctx context.Context, root string) (found bool, err error) {
	mutated, err := b.mutate(root)
	if err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "bursar-mutant-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, filepath.Base(b.file))
	overlay, err := json.Marshal(map[string]map[string]string{
		"Replace": {filepath.Join(root, filepath.FromSlash(b.file)): file},
	})
	if err != nil {
		return false, err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := errors.Join(os.WriteFile(file, mutated, 0o600), os.WriteFile(list, overlay, 0o600)); err != nil {
		return false, err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-overlay", list, "-timeout", testTimeout.String(), "-run", "^"+b.test+"$", b.pkg())
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	return judge(string(out), err)
}

// judge reads what go test has said.
func judge(out string, err error) (found bool, _ error) {
	switch {
	case strings.Contains(out, "[build failed]"), strings.Contains(out, "[setup failed]"):
		return false, fmt.Errorf("it does not compile:\n%s", out)
	case strings.Contains(out, "no tests to run"):
		return false, errors.New("its test does not exist")
	case strings.Contains(out, "--- FAIL"), strings.Contains(out, "panic: "):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("%w\n%s", err, out)
	}
	return false, nil
}
