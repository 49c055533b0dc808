package price

// Usage is a kind of usage that has a price. Its numbers stand in ledger lines
// and are never reused.
type Usage uint8

// The kinds of usage; see the package comment for what each feeds.
const (
	InputTokens Usage = iota + 1
	CachedTokens
	CacheCreationTokens
	CacheCreation1hTokens
	InputAudioTokens
	CachedAudioTokens
	CacheCreationAudioTokens
	InputImageTokens
	OutputTokens
	ReasoningTokens
	OutputAudioTokens
	OutputImageTokens
	OutputVideoTokens
	InputImages
	OutputImages
	InputSeconds
	OutputSeconds
	InputAudioSeconds
	InputVideoSeconds
	InputCharacters
	OutputCharacters
	Queries
	SearchQueries
	SearchQueriesLow
	SearchQueriesHigh

	usages = iota + 1 // one more than the last
)

// usageNames are the capabilities' ids.
var usageNames = [usages]string{
	InputTokens:              "input_tokens",
	CachedTokens:             "cached_tokens",
	CacheCreationTokens:      "cache_creation_tokens",
	CacheCreation1hTokens:    "cache_creation_1h_tokens",
	InputAudioTokens:         "input_audio_tokens",
	CachedAudioTokens:        "cached_audio_tokens",
	CacheCreationAudioTokens: "cache_creation_audio_tokens",
	InputImageTokens:         "input_image_tokens",
	OutputTokens:             "output_tokens",
	ReasoningTokens:          "reasoning_tokens",
	OutputAudioTokens:        "output_audio_tokens",
	OutputImageTokens:        "output_image_tokens",
	OutputVideoTokens:        "output_video_tokens",
	InputImages:              "input_images",
	OutputImages:             "output_images",
	InputSeconds:             "input_seconds",
	OutputSeconds:            "output_seconds",
	InputAudioSeconds:        "input_audio_seconds",
	InputVideoSeconds:        "input_video_seconds",
	InputCharacters:          "input_characters",
	OutputCharacters:         "output_characters",
	Queries:                  "queries",
	SearchQueries:            "search_queries",
	SearchQueriesLow:         "search_queries_low",
	SearchQueriesHigh:        "search_queries_high",
}

// String returns the id of the capability that is this usage, or "" of an unknown number.
func (u Usage) String() string {
	if int(u) < len(usageNames) {
		return usageNames[u]
	}
	return ""
}

// UsageOf returns the usage that a capability is, or zero. It allocates nothing.
func UsageOf(capability []byte) Usage {
	for u := InputTokens; u < usages; u++ {
		if usageNames[u] == string(capability) {
			return u
		}
	}
	return 0
}

// seconds reports whether u is a time, whose capability may have decimals.
func (u Usage) seconds() bool {
	switch u {
	case InputSeconds, OutputSeconds, InputAudioSeconds, InputVideoSeconds:
		return true
	}
	return false
}

// fields are the prices of a usage: the first that the model has counts.
var fields = [usages][]base{
	InputTokens:              {baseInput},
	CachedTokens:             {baseCacheRead, baseCacheHit, baseInput},
	CacheCreationTokens:      {baseCacheCreation, baseInput},
	CacheCreation1hTokens:    {baseCacheCreation1h, baseCacheCreation, baseInput},
	InputAudioTokens:         {baseInputAudio, baseInput},
	CachedAudioTokens:        {baseCacheReadAudio, baseInputAudio, baseInput},
	CacheCreationAudioTokens: {baseCacheCreationAudio, baseInputAudio, baseInput},
	InputImageTokens:         {baseInputImageToken, baseInput},
	OutputTokens:             {baseOutput},
	ReasoningTokens:          {baseReasoning, baseOutput},
	OutputAudioTokens:        {baseOutputAudio, baseOutput},
	OutputImageTokens:        {baseOutputImageToken, baseOutput},
	OutputVideoTokens:        {baseOutputVideo, baseOutput},
	InputImages:              {baseInputImage},
	OutputImages:             {baseOutputImage},
	InputSeconds:             {baseInputSecond},
	OutputSeconds:            {baseOutputSecond},
	InputAudioSeconds:        {baseInputAudioSecond},
	InputVideoSeconds:        {baseInputVideoSecond},
	InputCharacters:          {baseInputCharacter},
	OutputCharacters:         {baseOutputCharacter},
	Queries:                  {baseQuery},
	SearchQueries:            {baseSearchMedium},
	SearchQueriesLow:         {baseSearchLow},
	SearchQueriesHigh:        {baseSearchHigh},
}

// Quantities are the amounts of one call that may have prices. The zero value has none.
type Quantities struct {
	amounts  [usages]int64
	decimals [usages]uint8
	odd      bool // something cannot be counted in units
}

// Set takes over the amount of a usage: amount / 10^decimals units, where amount
// is between 0 and 10^18 and decimals at most 18. What is counted in whole units
// cannot have decimals: such an amount has no price.
func (q *Quantities) Set(u Usage, amount int64, decimals uint8) {
	if decimals != 0 && !u.seconds() {
		q.odd = q.odd || amount != 0
		return
	}
	q.amounts[u], q.decimals[u] = amount, decimals
}

// SetUnsplit takes over an amount of tokens of which nothing says whether they
// are input or output: it has no price. A call that has either is split.
func (q *Quantities) SetUnsplit(tokens int64) {
	if tokens > 0 && q.amounts[InputTokens] == 0 && q.amounts[OutputTokens] == 0 {
		q.odd = true
	}
}

// split takes the parts out of the wholes, so that nothing is charged twice, and
// returns what the call's input is, parts included.
func (q *Quantities) split() (input int64) {
	a := &q.amounts
	without := func(whole Usage, parts ...Usage) {
		for _, p := range parts {
			a[whole] -= a[p]
		}
		a[whole] = max(0, a[whole])
	}
	without(InputAudioTokens, CachedAudioTokens, CacheCreationAudioTokens)
	without(CachedTokens, CachedAudioTokens)
	without(CacheCreationTokens, CacheCreation1hTokens, CacheCreationAudioTokens)
	without(InputTokens, CachedTokens, CacheCreationTokens, CacheCreation1hTokens, InputAudioTokens,
		CachedAudioTokens, CacheCreationAudioTokens, InputImageTokens)
	without(OutputTokens, ReasoningTokens, OutputAudioTokens, OutputImageTokens, OutputVideoTokens)
	for u := InputTokens; u <= InputImageTokens; u++ {
		input += a[u] // 8 amounts of at most 10^18: less than 2^63
	}
	return input
}
