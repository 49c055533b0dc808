package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/bursar-dev/bursar"
	root   = "../.."
)

// mayImport is the whole drawing: for each folder, the folders of ours it may
// import directly. cmd → admin, bench, cluster → enforcer → fsm; client stands
// alone, so that callers who import the SDK get nothing else. Folders below one
// that is listed follow its rule, unless they are listed themselves. internal/ is for everybody but client.
var mayImport = map[string][]string{
	"client":   {},
	"fsm":      {"internal"},
	"enforcer": {"fsm", "client", "internal"},
	"cluster":  {"enforcer", "fsm", "internal"},
	"admin":    {"cluster", "enforcer", "fsm", "client", "internal"},
	"bench":    {"client", "internal"},
	"cmd":      {"admin", "bench", "cluster", "enforcer", "fsm", "client", "internal"},
	"deploy":   {"client", "internal"},
	"internal": {"internal"},

	"internal/ledgerfile": {"client"},
	"internal/simulation": {"cluster", "enforcer", "fsm", "internal"},
}

// mustNotUse lists what a package may not import from outside, by prefix.
var mustNotUse = map[string][]string{
	"fsm":     {"net", "net/http", "net/rpc", "net/netip", "math/rand", "crypto/rand", "github.com/hashicorp", "github.com/valyala/fasthttp"},
	"cluster": {"net/http", "github.com/valyala", "github.com/danielgtaylor"},
	"admin":   {"github.com/valyala/fasthttp", "github.com/hashicorp/raft"},
	"client":  {"github.com/cockroachdb", "github.com/hashicorp"},
}

// clockFuncs are the functions of package time that read a clock or wait for one.
var clockFuncs = []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"}

// source is one Go file of the module.
type source struct {
	path   string // slash-separated, from the module's root
	folder string // the first element of path
	test   bool
	ast    *ast.File
	set    *token.FileSet
}

func (s *source) at(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.set.Position(n.Pos()).Line)
}

// sources parses every Go file of the module, whatever its build tags.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := d.Name(); d.IsDir() && (base == "testdata" || name != root && strings.HasPrefix(base, ".")) {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		folder, _, _ := strings.Cut(relative, "/")
		all = append(all, source{relative, folder, strings.HasSuffix(name, "_test.go"), file, set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < len(mayImport) {
		t.Fatalf("found only %d Go files below %s", len(all), root)
	}
	return all
}

func TestImportsPointOneWay(t *testing.T) {
	for _, s := range sources(t) {
		allowed, listed := mayImport[path.Dir(s.path)]
		if !listed {
			allowed, listed = mayImport[s.folder]
		}
		if !listed {
			t.Errorf("%s: the folder %s is not in the drawing; add it to mayImport with what it may import", s.path, s.folder)
			continue
		}
		for _, spec := range s.ast.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			below, ours := strings.CutPrefix(imported, module+"/")
			folder, _, _ := strings.Cut(below, "/")
			if ours && folder != s.folder && !slices.Contains(allowed, folder) {
				t.Errorf("%s: %s must not import %s; it may import %v", s.at(spec), s.folder, imported, allowed)
			}
		}
	}
}

func TestPackagesKeepOutOfWhatIsNotTheirs(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, spec := range s.ast.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			for _, banned := range mustNotUse[s.folder] {
				if imported == banned || strings.HasPrefix(imported, banned+"/") {
					t.Errorf("%s: %s must not import %s", s.at(spec), s.folder, imported)
				}
			}
		}
	}
}

// A replica that reads a clock, a random source or the order of goroutines in
// apply differs from the others.
func TestStateMachineReadsNoClock(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.folder != "fsm" {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := selector.X.(*ast.Ident); ok && pkg.Name == "time" && pkg.Obj == nil && slices.Contains(clockFuncs, selector.Sel.Name) {
				t.Errorf("%s: the state machine has no clock but Command.At; time.%s is forbidden in fsm", s.at(n), selector.Sel.Name)
			}
			return true
		})
	}
}

// Every folder at the top is one that a reader of the design expects.
func TestTopLevelFoldersTellTheStory(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	expected := []string{"docs"}
	for folder := range mayImport {
		expected = append(expected, folder)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && e.Name() != "dist" && !slices.Contains(expected, e.Name()) {
			t.Errorf("%s is a new folder at the top; what belongs there is %v", path.Join(root, e.Name()), expected)
		}
	}
}

func TestEveryPackageHasAManual(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if s.test || s.ast.Name.Name == "" {
			continue
		}
		folder := path.Dir(s.path)
		documented[folder] = documented[folder] || hasDoc(t, s.path)
	}
	for folder, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment in a doc.go", folder)
		}
	}
}

// hasDoc reports whether the file is a doc.go with a package comment.
func hasDoc(t *testing.T, name string) bool {
	if path.Base(name) != "doc.go" {
		return false
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	return file.Doc != nil
}
