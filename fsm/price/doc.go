// Package price is the arithmetic of the price book: it reads price maps in the
// format of LiteLLM's model_prices_and_context_window.json, finds the prices of a
// model, and computes what usage costs. It is pure: no I/O, no clock, no floats.
//
// A price is an exact decimal number of USD for one unit. The cost of a call is
// the exact sum of quantity × price over its terms, rounded once, half to even,
// to the nano-dollar. Every term names the field of the map that it was priced
// by, so that anyone can compute the sum again from the terms alone (see Sum).
//
// # What is priced by what
//
// A usage name is the id of a capability. Those that are not built in
// (requests, input_tokens, output_tokens, cached_tokens, tokens, usd) feed a
// price once somebody has defined a capability of that id. "Else" says what
// counts where the map has no such price for the model.
//
//	usage name                    price field                                      part of                else
//	input_tokens                  input_cost_per_token
//	cached_tokens                 cache_read_input_token_cost                      input_tokens           input_cost_per_token_cache_hit, input_cost_per_token
//	cache_creation_tokens         cache_creation_input_token_cost                  input_tokens           input_cost_per_token
//	cache_creation_1h_tokens      cache_creation_input_token_cost_above_1hr        cache_creation_tokens  that of cache_creation_tokens
//	input_audio_tokens            input_cost_per_audio_token                       input_tokens           input_cost_per_token
//	cached_audio_tokens           cache_read_input_audio_token_cost                both of cached_tokens and input_audio_tokens          that of input_audio_tokens
//	cache_creation_audio_tokens   cache_creation_input_audio_token_cost            both of cache_creation_tokens and input_audio_tokens  that of input_audio_tokens
//	input_image_tokens            input_cost_per_image_token                       input_tokens           input_cost_per_token
//	output_tokens                 output_cost_per_token
//	reasoning_tokens              output_cost_per_reasoning_token                  output_tokens          output_cost_per_token
//	output_audio_tokens           output_cost_per_audio_token                      output_tokens          output_cost_per_token
//	output_image_tokens           output_cost_per_image_token                      output_tokens          output_cost_per_token
//	output_video_tokens           output_cost_per_video_token                      output_tokens          output_cost_per_token
//	input_images                  input_cost_per_image
//	output_images                 output_cost_per_image
//	input_seconds                 input_cost_per_second
//	output_seconds                output_cost_per_second
//	input_audio_seconds           input_cost_per_audio_per_second
//	input_video_seconds           input_cost_per_video_per_second
//	input_characters              input_cost_per_character
//	output_characters             output_cost_per_character
//	queries                       input_cost_per_query
//	search_queries                search_context_cost_per_query, search_context_size_medium
//	search_queries_low            search_context_cost_per_query, search_context_size_low
//	search_queries_high           search_context_cost_per_query, search_context_size_high
//
// A part is counted in the whole as well, and charged once: 800 input_tokens of
// which 300 are cached_tokens are 500 tokens at the input price and 300 at the
// cache-read price. A whole that is less than its parts counts as their sum.
// tokens, which is derived, costs nothing; given alone it cannot be priced.
//
// # Tiers
//
// A field may end with _above_<N>k_tokens: it counts for the whole call if its
// input_tokens, parts included, are more than N thousand. It may then end with
// _batches, _flex or _priority: it counts for calls of that service tier. Of the
// prices of one field the one with the highest threshold passed counts, and
// there the one of the call's tier, else the standard one.
//
// # What is not priced
//
// Fields that are no prices are passed over: limits (max_…), supports_…, mode,
// source, deprecation_date and so on. A field that is about money but feeds no
// usage name (a name with cost, pric or multiplier in it that stands in no table
// here, and provider_specific_entry) is passed over, too, and listed in
// Map.Ignored, so that nobody takes it for charged.
//
// Files: decimal.go (prices) · usage.go (the table above) · field.go (names of
// price fields) · parse.go (the map) · book.go (models by name) · cost.go (terms
// and sums).
package price
