package lua

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/yuin/gopher-lua/ast"
	"github.com/yuin/gopher-lua/parse"
)

// Bounds of one source file. The parser, the checks and the compiler recurse or take quadratic time in these.
const (
	MaxSource = 1 << 20 // bytes

	maxTokens    = 250_000
	maxNesting   = 100  // brackets and blocks, before parsing
	maxOperators = 200  // operators in a row that the parser stacks up, before parsing
	maxDepth     = 200  // of the syntax tree, after parsing
	maxConstants = 4096 // distinct constants in one function: the compiler searches them one by one
	maxUpvalues  = 200  // outer locals one function may use; gopher-lua counts them in a byte
	maxItems     = 25_000
)

// maxAllTokens bounds all files of a plugin together: what they are compiled to is kept.
const maxAllTokens = 1_000_000

// A Source is one file of a plugin, already read.
type Source struct {
	Name string // as errors should show it
	Text []byte
}

// A Chunk is a parsed file. The header is data and never runs; it keeps its place in the file.
type Chunk struct {
	Name   string
	Header *ast.TableExpr // the literal of a first statement `plugin { ... }`, or nil
	Stmts  []ast.Stmt     // the rest; Compile consumes them
	tokens int
}

// Parse reads a source file. Errors are of type *Error.
func Parse(src Source) (*Chunk, error) {
	if len(src.Text) > MaxSource {
		return nil, &Error{File: src.Name, Message: fmt.Sprintf("the file has %s bytes; at most %s are allowed",
			count(int64(len(src.Text))), count(MaxSource))}
	}
	text := bytes.TrimPrefix(src.Text, []byte("\xef\xbb\xbf"))
	tokens, err := scan(src.Name, text)
	if err != nil {
		return nil, err
	}
	stmts, err := parse.Parse(bytes.NewReader(text), src.Name)
	if err != nil {
		return nil, syntaxError(src.Name, text, err)
	}
	if tokens > 0 && len(stmts) == 0 {
		return nil, &Error{File: src.Name, Line: 1, Message: "syntax error"}
	}
	c := &Chunk{Name: src.Name, Stmts: stmts, tokens: tokens}
	return c, c.takeHeader()
}

// scan walks the tokens and refuses what would make the parser use much memory. It returns their number.
func scan(name string, text []byte) (int, error) {
	fail := func(line int, format string, args ...any) error {
		return &Error{File: name, Line: line, Message: fmt.Sprintf(format, args...)}
	}
	scanner, lexer := parse.NewScanner(bytes.NewReader(text), name), &parse.Lexer{}
	var outer []int // operators pending outside each open bracket
	blocks, operators := 0, 0
	for n := 0; ; n++ {
		tok, err := scanner.Scan(lexer)
		if err != nil {
			return n, syntaxError(name, text, err)
		}
		if tok.Type == parse.EOF {
			return n, nil
		}
		if n == maxTokens {
			return n, fail(tok.Pos.Line, "the file is too long: more than %s words and signs", count(maxTokens))
		}
		switch tok.Type {
		case '(', '{', '[':
			outer, operators = append(outer, operators), 0
		case ')', '}', ']':
			if len(outer) > 0 {
				operators = outer[len(outer)-1]
				outer = outer[:len(outer)-1]
			}
		case parse.TFunction, parse.TDo, parse.TThen, parse.TRepeat:
			blocks, operators = blocks+1, 0
		case parse.TEnd, parse.TUntil, parse.TElseIf:
			blocks, operators = blocks-1, 0
		case ',', ';', '=', parse.TElse, parse.TLocal, parse.TReturn, parse.TIf, parse.TWhile, parse.TFor, parse.TIn:
			operators = 0
		case parse.TNot, '-', '#', '^', parse.T2Comma:
			operators++
		case parse.TGoto:
			return n, fail(tok.Pos.Line, "goto is not part of Lua 5.1; use a loop or a function")
		}
		if len(outer)+blocks > maxNesting {
			return n, fail(tok.Pos.Line, "nested too deeply: more than %d brackets and blocks", maxNesting)
		}
		if operators > maxOperators {
			return n, fail(tok.Pos.Line, "more than %d operators in one expression; use table.concat or several statements",
				maxOperators)
		}
	}
}

func syntaxError(name string, text []byte, err error) error {
	var pe *parse.Error
	if !errors.As(err, &pe) {
		return &Error{File: name, Message: "cannot be parsed: " + err.Error()}
	}
	line := pe.Pos.Line
	if line == parse.EOF {
		return &Error{File: name, Line: 1 + bytes.Count(bytes.TrimRight(text, "\r\n"), []byte("\n")),
			Message: pe.Message + " at the end of the file"}
	}
	near := pe.Token
	if len(near) > 40 {
		near = near[:40] + "..."
	}
	return &Error{File: name, Line: line, Message: fmt.Sprintf("%s near %q", pe.Message, near)}
}

// takeHeader moves a first statement `plugin { ... }` out of the statements.
func (c *Chunk) takeHeader() error {
	if len(c.Stmts) == 0 {
		return nil
	}
	call := globalCall(c.Stmts[0], "plugin")
	if call == nil {
		return nil
	}
	if len(call.Args) == 1 {
		if table, ok := call.Args[0].(*ast.TableExpr); ok {
			c.Header, c.Stmts = table, c.Stmts[1:]
			return nil
		}
	}
	return &Error{File: c.Name, Line: call.Line(), Message: "the header must be one table literal: plugin { id = ... }"}
}

// globalCall returns the call if stmt calls the name as a plain function.
func globalCall(stmt ast.Stmt, name string) *ast.FuncCallExpr {
	if s, ok := stmt.(*ast.FuncCallStmt); ok {
		if call, ok := s.Expr.(*ast.FuncCallExpr); ok {
			if id, ok := call.Func.(*ast.IdentExpr); ok && id.Value == name {
				return call
			}
		}
	}
	return nil
}
