// stagepost.h: plugins for Stagepost in C, and the documentation of the interface between a plugin and the server.
//
// A plugin is one WebAssembly module. This header has two parts: the interface itself, as any language would use it, and the
// small runtime that C plugins are written with (stagepost.c). The numbers of stages, objects, fields, edits and verdicts, and
// one function for each field, method and service, stand in stagepost_api.h, which is generated from the declarations
// that the server itself binds.
//
//   clang --target=wasm32 -Os -ffreestanding -nostdlib -Wl,--no-entry,--stack-first,--strip-all -o plugin.wasm plugin.c stagepost.c
#ifndef STAGEPOST_H
#define STAGEPOST_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __wasm__
#define SP_IMPORT(name) __attribute__((import_module("stagepost_v0"), import_name(name)))
#define SP_EXPORT(name) __attribute__((export_name(name)))
#else
#define SP_IMPORT(name)
#define SP_EXPORT(name)
#endif

// --- The interface ---------------------------------------------------------------------------------------------------
//
// VALUES are CBOR (RFC 8949) in both directions: null, booleans, integers of 64 bits with sign, floats, text, bytes, lists, and
// maps with text as keys; definite lengths, no tags, nested at most 8 deep. Text is any bytes: mail is not always UTF-8.
//
// ERRORS are negative results, SP_ERR_NONE to SP_ERR_FAILED in stagepost_api.h. The server notes why it refused something; when
// the handler then gives up by returning a negative number, that text stands in its error, and the hook's on_error is the answer.
// A pointer or length that leads out of the memory, and what exceeds a bound, ends the call at once.
//
// MEMORY belongs to the plugin. The server writes to the buffer that a call names, to what stagepost_alloc returned, and
// nowhere else; it reads what it is handed during that call only. One call runs at a time in an instance; there are no threads.
//
// What a module exports (stagepost.c does it all):
//
//   memory                         the one memory
//   stagepost_abi() i32            the version of this interface: 0
//   stagepost_alloc(n) i32         a buffer of n bytes for the server to write to; it is asked for once, for the settings
//   stagepost_load(ptr, len) i32   the plugin's settings, a map, once in each instance before any hook; 0, or the plugin does not
//                                  load, and the last line logged as an error says why. No service works here but re, json, hash,
//                                  addr and log
//   stagepost_hook(stage) i64      asks at a stage. 0 is next; ptr << 32 | len is a verdict, which is read before anything else
//                                  runs here; what is negative makes on_error answer. A trap does so, too, and the instance, with
//                                  whatever is in its memory, is thrown away
//
// What it may import from the module stagepost_v0:

// Writes the value of a field to buf and returns its length. When room is too small nothing is written, and the length tells
// how much is needed. SP_ERR_NONE: the field is nil, or the object is not there at this stage. SP_ERR_INVALID: there is no such object or
// field, or the field is itself an object with a number of its own. index counts recipients; it is 0 for all other objects.
// At rcpt, route, delivered, deferred and bounced 0 is the recipient that is asked about, and 1 and so on are those of the message. At
// deliver those of the delivery come first, then those of the message; elsewhere the message's count from 0. A list of recipients is their
// number.
SP_IMPORT("field") int32_t stagepost_field(uint32_t object, uint32_t index, uint32_t field, void *buf, uint32_t room);

// Writes the n-th field of the message's header with that name, counted from 1, unfolded; with an empty name the n-th of all, as it
// stands there. No CBOR. A room that is too small is as in stagepost_field. SP_ERR_NONE: there is no n-th. SP_ERR_REFUSED: before data,
// or needs.read was not granted.
SP_IMPORT("header") int32_t stagepost_header(const void *name, uint32_t name_len, uint32_t n, void *buf, uint32_t room);

// Reads at most room bytes, and at most 1 MiB, of the message from offset on; 0 at its end. content is 0 for the whole message, n for
// its n-th part, decoded, and 65536 + n for the text of that in UTF-8. It needs read = "body", and works from data on. Each byte of the message adds 32 steps to what the call may use, once.
SP_IMPORT("content_read") int32_t stagepost_content_read(uint32_t content, int64_t offset, void *buf, uint32_t room);

// Writes len bytes, at most 1 MiB, to the new body that the edit rewrite began with "begin" and that it ends with "end".
SP_IMPORT("content_emit") int32_t stagepost_content_emit(const void *ptr, uint32_t len);

// Stages an edit with its argument in CBOR, at most 256 KiB. Edits count only if the handler returns without error. What each takes
// stands in the manual page wasm. SP_ERR_REFUSED: not at this stage, not granted, or not well formed.
SP_IMPORT("edit") int32_t stagepost_edit(uint32_t edit, uint32_t object, uint32_t index, const void *ptr, uint32_t len);

// Calls a service, such as "kv.get", with a list of arguments in CBOR, at most 256 KiB. Returns handle << 32 | length of the
// result, at most 4 MiB; 16 results may be open at once. SP_ERR_ABSENT: there is no such service. SP_ERR_FAILED: it cannot be told, or the
// arguments or the grants are wrong.
SP_IMPORT("svc") int64_t stagepost_svc(const void *name, uint32_t name_len, const void *args, uint32_t args_len);

// Reads at most room bytes of a result from offset on; 0 at its end.
SP_IMPORT("svc_read") int32_t stagepost_svc_read(uint32_t handle, int64_t offset, void *buf, uint32_t room);

// Forgets a result. What is left open is forgotten after the call.
SP_IMPORT("svc_close") int32_t stagepost_svc_close(uint32_t handle);

// Writes a line to the log, at most 64 KiB: SP_LEVEL_DEBUG to SP_LEVEL_ERROR.
SP_IMPORT("log") void stagepost_log(uint32_t level, const void *text, uint32_t len);

// Nanoseconds since 1970.
SP_IMPORT("now") int64_t stagepost_now(void);

// --- The runtime: memory ---------------------------------------------------------------------------------------------
//
// All that the functions below return lies in an arena. What a load function allocates stays as long as the instance; what a
// handler allocates is gone when it has returned. So nothing is freed, and no handler keeps a pointer in a global.

// Memory for n bytes, aligned to 16, not cleared. It never fails: where there is no more memory the call ends as an error.
void *sp_alloc(size_t n);

// Gives back what was allocated since the mark was taken, for loops over large contents.
typedef uintptr_t sp_mark;
sp_mark sp_here(void);
void sp_release(sp_mark mark);

// Ends the call as an error with this text, and the instance with it: for what cannot be.
_Noreturn void sp_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

// --- The runtime: text -----------------------------------------------------------------------------------------------

// Bytes somewhere, not ended by 0. A ptr of NULL is nil: there is none.
typedef struct {
  const char *ptr;
  uint32_t len;
} sp_text;

// A text from a literal, one from a string that ends with 0, and nil. SP_ARG gives a text to the format "%.*s".
#define SP(literal) ((sp_text){"" literal, sizeof(literal) - 1})
sp_text sp_string(const char *s);
#define SP_NO_TEXT ((sp_text){NULL, 0})
#define SP_ARG(text) (int)(text).len, (text).ptr

bool sp_equal(sp_text a, sp_text b); // nil equals nil only
bool sp_starts(sp_text text, sp_text with);
bool sp_ends(sp_text text, sp_text with);
int32_t sp_find(sp_text text, sp_text part); // where part begins first, -1 if nowhere
sp_text sp_slice(sp_text text, uint32_t from, uint32_t to);
sp_text sp_lower(sp_text text); // A to Z only
// Cuts at the first separator: what is before it, and in *rest what is behind; *rest is nil if there is none.
sp_text sp_cut(sp_text text, char separator, sp_text *rest);
bool sp_number(sp_text text, int64_t *n); // decimal; false if it is none, or too large

// As snprintf, into the arena: %s %.*s %c %d %i %u %x, with l, ll and z, and %%.
sp_text sp_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

// --- The runtime: values ---------------------------------------------------------------------------------------------

typedef enum { SP_NIL, SP_BOOL, SP_INT, SP_FLOAT, SP_TEXT, SP_BYTES, SP_LIST, SP_MAP } sp_type;

// A value of any type. Lists and maps hold their members encoded.
typedef struct {
  sp_type type;
  uint32_t count; // members of a list, pairs of a map
  union {
    bool boolean;
    int64_t integer;
    double number;
    sp_text text; // SP_TEXT and SP_BYTES
    struct {
      const uint8_t *ptr;
      uint32_t len;
    } members; // SP_LIST and SP_MAP
  };
} sp_value;

typedef struct {
  sp_text key;
  sp_value value;
} sp_pair;

sp_value sp_of_bool(bool v);
sp_value sp_of_int(int64_t v);
sp_value sp_of_float(double v);
sp_value sp_of_text(sp_text v);  // nil if v is
sp_value sp_of_bytes(sp_text v); // nil if v is
sp_value sp_of_list(const sp_value *values, uint32_t n);
sp_value sp_of_map(const sp_pair *pairs, uint32_t n); // pairs whose value is nil are left out
#define SP_NO_VALUE ((sp_value){.type = SP_NIL})
// SP_OF_LIST(sp_of_int(1), sp_of_int(2)), SP_OF_MAP({SP("a"), sp_of_int(1)}, {SP("b"), SP_NO_VALUE})
#define SP_OF_LIST(...) sp_of_list((const sp_value[]){__VA_ARGS__}, sizeof((const sp_value[]){__VA_ARGS__}) / sizeof(sp_value))
#define SP_OF_MAP(...) sp_of_map((const sp_pair[]){__VA_ARGS__}, sizeof((const sp_pair[]){__VA_ARGS__}) / sizeof(sp_pair))

// What a value holds, or else what stands for it: nil, false, the second argument. Integers and floats pass for each other where
// nothing is lost, and so do text and bytes.
sp_text sp_as_text(sp_value v);
bool sp_as_bool(sp_value v);
int64_t sp_as_int(sp_value v, int64_t otherwise);
double sp_as_float(sp_value v, double otherwise);

sp_value sp_get(sp_value map, sp_text key);    // nil if it is no map, or has no such key
sp_value sp_at(sp_value list, uint32_t index); // from 0; nil if it is no list, or shorter

// for (sp_iter i = sp_begin(v); sp_next(&i);) has each i.value of a list, and i.key besides of a map.
typedef struct {
  sp_text key;
  sp_value value;
  const uint8_t *rest, *end;
  bool keys;
} sp_iter;
sp_iter sp_begin(sp_value v);
bool sp_next(sp_iter *i);

// One value from CBOR, which the value then points into; false if the bytes are no such thing. And CBOR of a value, in the arena.
bool sp_decode(const void *ptr, uint32_t len, sp_value *v);
sp_text sp_encode(sp_value v);

// --- The runtime: calls ----------------------------------------------------------------------------------------------
//
// Functions that may fail return 0, or an error, negative, that a handler may return as it is: SP_TRY(sp_kv_get(key, &value));
// "There is none" is no error, but nil.

typedef int32_t sp_error;
#define SP_TRY(call)                \
  do {                              \
    sp_error sp_error_ = (call);    \
    if (sp_error_ < 0) return sp_error_; \
  } while (0)

// What a handler answers: SP_NEXT, what a function of verdicts returned, or an error.
typedef int64_t sp_verdict;
#define SP_NEXT ((sp_verdict)0)

// The answer of a handler, or of a load function, that cannot tell: the text is the error, and on_error answers.
sp_error sp_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

// The plugin's settings, a map.
sp_value sp_config(void);

// The parts that stagepost_api.h is made of.
sp_value sp_field(uint32_t object, uint32_t index, uint32_t field);
sp_error sp_edit(uint32_t edit, uint32_t object, uint32_t index, sp_value argument);
sp_error sp_call(sp_text service, const sp_value *args, uint32_t n, sp_value *result); // result may be NULL
sp_verdict sp_answer(uint32_t kind, const sp_pair *pairs, uint32_t n);
sp_verdict sp_unhandled(const char *stage);
uint32_t sp_stage(void);      // that is asked at
uint32_t sp_asked_rcpt(void); // index of the message's first recipient

#include "stagepost_api.h"

// What a delivery answers that has a verdict for each recipient, in order; SP_NEXT is accept.
sp_verdict sp_each(const sp_verdict *verdicts, uint32_t n);

// The n-th field of that name in the header, counted from 1, unfolded; nil if there is none. From data on; needs read = "headers".
sp_error sp_message_header(sp_message message, sp_text name, uint32_t n, sp_text *value);

// The n-th field of all, counted from 1; its parts are nil if there is none. raw is the whole of it as it stands there.
typedef struct {
  sp_text name, value, raw;
} sp_header;
sp_error sp_message_headers(sp_message message, uint32_t n, sp_header *field);

// Reads at most room bytes of the message, and at most 1 MiB, into buf: their number, 0 at the end, or an error. From data on; needs
// read = "body".
sp_error sp_content_read(sp_content content, int64_t offset, void *buf, uint32_t room);

// A content as services take it, by its number: sp_http_request sends it without reading it into the plugin's memory.
static inline sp_value sp_of_content(sp_content content) { return sp_of_int(content.index); }

// The part's text in UTF-8; an error for what is no text or has more than 1 MiB. From data on; needs read = "body".
sp_error sp_part_text(sp_part part, sp_text *text);

// Gives the message another body: what piece returns for each piece of the old one, of at most 64 KiB; last is 1 for the last. It works
// at data, once in a handler, and counts when that returns without giving up; needs edit = ["body"] and read = "body".
sp_error sp_message_rewrite(sp_message message, sp_text (*piece)(sp_text chunk, int last, void *arg), void *arg);

// What a plugin handles; a stage that plugin.toml has and the code does not is an error. load may check the settings.
//
//   SP_PLUGIN(.load = on_load, .rcpt = on_rcpt)
#define SP_PLUGIN(...) const sp_plugin stagepost_plugin = {__VA_ARGS__};
extern const sp_plugin stagepost_plugin;

#endif
