package price

import (
	"strconv"
	"strings"
)

// base is a price field without its tiers. Numbers stand in ledger lines and are
// never reused.
type base uint8

const (
	baseInput base = iota + 1
	baseCacheRead
	baseCacheHit
	baseCacheCreation
	baseCacheCreation1h
	baseInputAudio
	baseCacheReadAudio
	baseCacheCreationAudio
	baseInputImageToken
	baseOutput
	baseReasoning
	baseOutputAudio
	baseOutputImageToken
	baseOutputVideo
	baseInputImage
	baseOutputImage
	baseInputSecond
	baseOutputSecond
	baseInputAudioSecond
	baseInputVideoSecond
	baseInputCharacter
	baseOutputCharacter
	baseQuery
	baseSearchLow
	baseSearchMedium
	baseSearchHigh

	bases = iota + 1
)

// searchContext is the one field whose value is an object of prices.
const searchContext = "search_context_cost_per_query"

// baseNames are the names in the map; a point separates an object from its field.
var baseNames = [bases]string{
	baseInput:              "input_cost_per_token",
	baseCacheRead:          "cache_read_input_token_cost",
	baseCacheHit:           "input_cost_per_token_cache_hit",
	baseCacheCreation:      "cache_creation_input_token_cost",
	baseCacheCreation1h:    "cache_creation_input_token_cost_above_1hr",
	baseInputAudio:         "input_cost_per_audio_token",
	baseCacheReadAudio:     "cache_read_input_audio_token_cost",
	baseCacheCreationAudio: "cache_creation_input_audio_token_cost",
	baseInputImageToken:    "input_cost_per_image_token",
	baseOutput:             "output_cost_per_token",
	baseReasoning:          "output_cost_per_reasoning_token",
	baseOutputAudio:        "output_cost_per_audio_token",
	baseOutputImageToken:   "output_cost_per_image_token",
	baseOutputVideo:        "output_cost_per_video_token",
	baseInputImage:         "input_cost_per_image",
	baseOutputImage:        "output_cost_per_image",
	baseInputSecond:        "input_cost_per_second",
	baseOutputSecond:       "output_cost_per_second",
	baseInputAudioSecond:   "input_cost_per_audio_per_second",
	baseInputVideoSecond:   "input_cost_per_video_per_second",
	baseInputCharacter:     "input_cost_per_character",
	baseOutputCharacter:    "output_cost_per_character",
	baseQuery:              "input_cost_per_query",
	baseSearchLow:          searchContext + ".search_context_size_low",
	baseSearchMedium:       searchContext + ".search_context_size_medium",
	baseSearchHigh:         searchContext + ".search_context_size_high",
}

// Tier is the service tier that a call was made in.
type Tier uint8

// The tiers. Numbers stand in ledger lines and are never reused.
const (
	Standard Tier = iota
	Batch
	Flex
	Priority

	tiers = iota
)

var (
	tierNames    = [tiers]string{"standard", "batch", "flex", "priority"}
	tierSuffixes = [tiers]string{"", "_batches", "_flex", "_priority"}
)

// String returns the tier's name: "standard", "batch", "flex" or "priority".
func (t Tier) String() string {
	if t < tiers {
		return tierNames[t]
	}
	return ""
}

// TierOf returns the tier of a name. It allocates nothing.
func TierOf(name []byte) (t Tier, ok bool) {
	for t := range Tier(tiers) {
		if tierNames[t] == string(name) {
			return t, true
		}
	}
	return 0, false
}

// Field is a price field of the map. The zero value is none.
type Field uint32

// newField returns the field of a base for calls with more than over thousand input tokens.
func newField(b base, over uint16, t Tier) Field {
	return Field(over)<<16 | Field(t)<<8 | Field(b)
}

func (f Field) base() base   { return base(f) }
func (f Field) tier() Tier   { return Tier(f >> 8) }
func (f Field) over() uint16 { return uint16(f >> 16) }

// valid reports whether f is a field that this release knows.
func (f Field) valid() bool { return f.base() > 0 && f.base() < bases && f.tier() < tiers }

// String returns the field's name in the map, or "" of one that is not valid. A point separates
// search_context_cost_per_query from the size of the context.
func (f Field) String() string { return string(f.Append(nil)) }

// Append appends the field's name to dst.
func (f Field) Append(dst []byte) []byte {
	if !f.valid() {
		return dst
	}
	dst = append(dst, baseNames[f.base()]...)
	if f.over() > 0 {
		dst = append(dst, aboveInfix...)
		dst = strconv.AppendInt(dst, int64(f.over()), 10)
		dst = append(dst, aboveSuffix...)
	}
	return append(dst, tierSuffixes[f.tier()]...)
}

const (
	aboveInfix  = "_above_"
	aboveSuffix = "k_tokens"
)

// ParseField returns the field of a name, as String writes it; ok is false if the name is no price that feeds a usage.
func ParseField(name string) (f Field, ok bool) {
	rest, tier := name, Standard
	for t := Batch; t < tiers; t++ {
		if r, found := strings.CutSuffix(rest, tierSuffixes[t]); found {
			rest, tier = r, t
			break
		}
	}
	var over uint64
	if r, found := strings.CutSuffix(rest, aboveSuffix); found {
		if i := strings.LastIndex(r, aboveInfix); i >= 0 {
			var err error
			if over, err = strconv.ParseUint(r[i+len(aboveInfix):], 10, 16); err != nil || over == 0 {
				return 0, false
			}
			rest = r[:i]
		}
	}
	for b := baseInput; b < bases; b++ {
		if baseNames[b] == rest {
			f = newField(b, uint16(over), tier)
			return f, f.String() == name // one spelling for each
		}
	}
	return 0, false
}
