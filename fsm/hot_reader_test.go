package fsm

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// everyField gives every field of what v points to a value that is not zero.
func everyField(t *testing.T, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			everyField(t, v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 20, 20)) // more than a short list holds
		for i := range v.Len() {
			everyField(t, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key"), reflect.ValueOf("value"))
	case reflect.String:
		v.SetString("a text of more than thirty-one bytes: that is where msgpack's short ones end")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(-1 << 40)
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(60_000)
	default:
		t.Fatalf("%s is of a kind that no stored value has", v.Type())
	}
}

func TestAHotValueIsReadWithEveryField(t *testing.T) {
	r := hotReader{words: words{}}
	readsAll(t, &r, (*hotReader).entity)
	readsAll(t, &r, (*hotReader).assignment)
}

func readsAll[T any](t *testing.T, r *hotReader, read func(*hotReader, *T)) {
	t.Helper()
	var full, empty T
	everyField(t, reflect.ValueOf(&full).Elem())
	for _, want := range []T{full, empty} {
		value, err := encodeValue(&want)
		if err != nil {
			t.Fatal(err)
		}
		var got T
		everyField(t, reflect.ValueOf(&got).Elem())
		if err := decodeHot(r, value, &got, read); err != nil {
			t.Fatalf("%T: %v", want, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%T (-stored +read):\n%s", want, diff)
		}
		for n := range value {
			_ = decodeHot(r, value[:n], &got, read) // an error, or nothing worse
		}
	}
}
