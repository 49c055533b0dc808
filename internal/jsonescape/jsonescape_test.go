package jsonescape

import "testing"

func TestHalfACharacterIsNotWhole(t *testing.T) {
	for text, want := range map[string]bool{
		`"a"`: true, `"\\ud800"`: true, `"\u00e4"`: true, `"\ud83d\ude00"`: true, `"\uD83D\uDE00x"`: true, `{"\n":"\\"}`: true, ``: true,
		`"\ud800"`: false, `"\udc00"`: false, `"\ude00\ud83d"`: false, `"\ud83dx"`: false, `"\ud83d\n"`: false, `"\ud83d\u0041"`: false, `"\\\ud83d"`: false,
	} {
		if got := Whole([]byte(text)); got != want {
			t.Errorf("Whole(%s) = %v, want %v", text, got, want)
		}
	}
}
