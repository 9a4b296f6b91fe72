// The plugin in C that does what a case says. See plugins/conformance.
#include "stagepost.h"

static sp_value known(sp_value facts, sp_text name) { return SP_OF_MAP({SP("known"), sp_get(facts, name)}); }

static sp_value addresses(uint32_t n, sp_rcpt first) {
  sp_value *all = sp_alloc((n + 1) * sizeof *all);
  for (uint32_t i = 0; i < n; i++) all[i] = sp_of_text(sp_rcpt_address((sp_rcpt){first.index + i}).text);
  return sp_of_list(all, n);
}

static sp_value types(uint32_t n) {
  sp_value *all = sp_alloc((n + 1) * sizeof *all);
  for (uint32_t i = 0; i < n; i++) all[i] = sp_of_text(sp_part_type((sp_part){i}));
  return sp_of_list(all, n);
}

#include "dispatch.h"

static sp_value the_case(const char *name) { return sp_get(sp_get(sp_config(), SP("case")), sp_string(name)); }
static sp_text word(const char *name) { return sp_as_text(the_case(name)); }

static sp_error report(sp_value v) { return sp_log_info(SP("got"), SP_OF_MAP({SP("value"), v})); }

static sp_verdict answer(sp_value v) {
  if (!sp_equal(sp_as_text(sp_get(v, SP("kind"))), SP("each"))) return verdict(v);
  sp_value list = sp_get(v, SP("verdicts"));
  sp_verdict *all = sp_alloc((list.count + 1) * sizeof *all);
  uint32_t n = 0;
  for (sp_iter i = sp_begin(list); sp_next(&i);) all[n++] = verdict(i.value);
  return sp_each(all, n);
}

static sp_error fact(object o) {
  sp_text key = word("my"), name = word("name");
  sp_value value = the_case("value"), my, facts;
#define SET(type, handle)                                     \
  do {                                                        \
    SP_TRY(sp_##type##_set_my(handle, key, value));           \
    SP_TRY(sp_##type##_set_fact(handle, name, value));        \
    my = sp_##type##_my(handle), facts = sp_##type##_facts(handle); \
  } while (0)
  if (is(o, "session"))
    SET(session, (sp_session){0});
  else if (is(o, "message"))
    SET(message, (sp_message){0});
  else
    SET(rcpt, o.rcpt);
  return report(SP_OF_LIST(sp_get(my, key), sp_get(facts, name)));
}

static sp_error header(sp_message m) {
  sp_text v[3];
  for (uint32_t n = 0; n < 3; n++) SP_TRY(sp_message_header(m, word("name"), n + 1, &v[n]));
  return report(SP_OF_LIST(sp_of_text(v[0]), sp_of_text(v[1]), sp_of_bool(v[2].ptr != NULL)));
}

static sp_error headers(sp_message m) {
  sp_value all[10];
  sp_text name = sp_lower(word("name"));
  uint32_t n = 0;
  sp_header f;
  for (uint32_t i = 1; n < 10; i++) {
    SP_TRY(sp_message_headers(m, i, &f));
    if (!f.raw.ptr) break;
    if (name.len == 0 || sp_equal(sp_lower(f.name), name))
      all[n++] = SP_OF_MAP({SP("name"), sp_of_text(f.name)}, {SP("value"), sp_of_text(f.value)}, {SP("raw"), sp_of_text(f.raw)});
  }
  return report(sp_of_list(all, n));
}

// Up to room bytes from offset on, as a text.
static sp_error piece(int64_t offset, uint32_t room, sp_value *v) {
  char *buf = sp_alloc(room);
  sp_error n = sp_content_read((sp_content){0}, offset, buf, room);
  SP_TRY(n);
  *v = sp_of_text((sp_text){buf, (uint32_t)n});
  return n;
}

static sp_error reads(void) {
  sp_value first, none, whole;
  SP_TRY(piece(9, 3, &first));
  SP_TRY(piece(1000, 3, &none));
  SP_TRY(piece(0, 1000, &whole));
  return report(SP_OF_LIST(first, none, sp_of_int(whole.text.len)));
}

static sp_error chunks(void) {
  sp_value all[100];
  uint32_t n = 0;
  for (;; n++) {
    sp_error got = piece(16 * n, 16, &all[n]);
    SP_TRY(got);
    if (got == 0) break;
  }
  return report(sp_of_list(all, n));
}

static sp_value seen;

static sp_error posted(sp_content body, sp_text *got) {
  sp_value answer;
  SP_TRY(sp_http_request(SP_OF_MAP({SP("url"), sp_of_text(SP("https://api.example/"))}, {SP("body"), sp_of_content(body)}), &answer));
  *got = sp_as_text(sp_get(answer, SP("body")));
  return 0;
}

static sp_error post(sp_message m) {
  sp_content content;
  sp_text part, whole;
  sp_message_content(m, &content);
  SP_TRY(posted(sp_part_content(sp_message_part(m, 0)), &part));
  SP_TRY(posted(content, &whole));
  return report(SP_OF_LIST(sp_of_text(part), sp_of_int(whole.len)));
}

static sp_error talk(void) {
  int64_t c;
  sp_text line, two, last, none;
  SP_TRY(sp_net_open(SP("talk.example:7"), SP_NO_VALUE, &c));
  SP_TRY(sp_net_send(c, sp_of_text(SP("one\r\ntwo"))));
  SP_TRY(sp_net_line(c, &line));
  SP_TRY(sp_net_read(c, 3, &two));
  SP_TRY(sp_net_send(c, sp_of_text(SP("end\n"))));
  SP_TRY(sp_net_line(c, &last));
  SP_TRY(sp_net_line(c, &none));
  SP_TRY(sp_net_close(c));
  sp_text after;
  bool closed = sp_net_line(c, &after) != 0;
  return report(SP_OF_LIST(sp_of_text(line), sp_of_text(two), sp_of_text(last), sp_of_bool(none.ptr == NULL), sp_of_bool(closed)));
}

static sp_text ended(sp_text chunk, int last, void *m) {
  sp_text kept = sp_format("%.*s", SP_ARG(chunk));
  seen = SP_OF_LIST(sp_of_int(sp_message_body_start(*(sp_message *)m)), sp_of_text(kept), sp_of_bool(last));
  return sp_format("%.*send", SP_ARG(chunk));
}

static sp_error settings(void) {
  static const char *const names[] = {"bool", "int", "string", "duration", "size", "list", "map"};
  sp_value all[7];
  for (int i = 0; i < 7; i++) all[i] = sp_get(sp_config(), sp_string(names[i]));
  return report(sp_of_list(all, 7));
}

static sp_verdict run(object o) {
  sp_value path = the_case("path");
  for (uint32_t i = 0; i < path.count; i++) {
    int64_t place = sp_as_int(sp_at(path, i + 1), 0);
    o = member(o, sp_as_text(sp_at(path, i)), place);
    if (place > 0) i++;
  }
  sp_text what = word("do");
  sp_message m = {0};
#define DO(name) if (sp_equal(what, SP(name)))
  DO("fields") return report(fields(o));
  DO("verdict") return answer(the_case("verdict"));
  DO("edits") {
    for (sp_iter i = sp_begin(the_case("edits")); sp_next(&i);) SP_TRY(edit(o, sp_as_text(sp_at(i.value, 0)), i.value));
    return SP_NEXT;
  }
  DO("service") {
    sp_value v;
    SP_TRY(service(word("service"), the_case("args"), &v));
    return report(v);
  }
  DO("fact") return fact(o);
  DO("header") return header(m);
  DO("headers") return headers(m);
  DO("read") return reads();
  DO("chunks") return chunks();
  DO("text") {
    sp_text text;
    char buf[4];
    sp_part p = sp_message_part(m, 0);
    SP_TRY(sp_part_text(p, &text));
    sp_error n = sp_content_read(sp_part_content(p), 0, buf, sizeof buf);
    SP_TRY(n < 0 ? n : 0);
    return report(SP_OF_LIST(sp_of_text(text), sp_of_text((sp_text){buf, (uint32_t)n}), sp_of_int(sp_content_size(sp_part_content(p)))));
  }
  DO("post") return post(m);
  DO("talk") return talk();
  DO("rewrite") {
    SP_TRY(sp_message_rewrite(m, ended, &m));
    return report(seen);
  }
  DO("settings") return settings();
  DO("fail") return sp_fail("it cannot be told");
  return sp_fail("nothing is known of %.*s", SP_ARG(what));
}

static sp_error on_load(void) { return sp_equal(word("do"), SP("refuse")) ? sp_fail("these settings are refused") : 0; }

SP_PLUGIN(.load = on_load, HANDLERS)
