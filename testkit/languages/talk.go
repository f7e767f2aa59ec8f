// The part that all scripts in Go share: lines of words come in, lines of JSON go out. It is compiled together with
// each of them.
//
// PROGRAM version
// PROGRAM SERVICE ADDRESS,… NAME    until the end of the input
//
// SERVICE is memcached, redis or redis-cluster. Each ADDRESS is one server. NAME is a host name and a port that
// stand for all of them. testkit/src/languages/mod.rs describes the lines.

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"
)

// The longest wait for a lifetime of a second to end.
const expiresWithin = 20 * time.Second

// A limit on one attempt.
const within = time.Second

// The version of the library; the linker sets it.
var version = "of unknown version"

type cache interface {
	get(key string) (*string, error)
	many(keys []string) ([]*string, error)
	set(key, value string) error
	delete(key string) error
	check(prefix string)
}

func say(line map[string]interface{}) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}

// Compares a result with what it must be, and says the comparison.
func equal(what string, wanted interface{}, work func() (interface{}, error)) {
	got, err := work()
	var wrong interface{}
	if err != nil {
		wrong = err.Error()
	} else if !reflect.DeepEqual(got, wanted) {
		wrong = fmt.Sprintf("%.300v, expected %.300v", got, wanted)
	}
	say(map[string]interface{}{"check": what, "wrong": wrong})
}

// An operation has to fail with this error.
func fails(what string, wanted error, work func() error) {
	equal(what, true, func() (interface{}, error) {
		err := work()
		return err == wanted, nil
	})
}

// A lifetime ends.
func ends(what string, isGone func() bool) {
	equal(what, true, func() (interface{}, error) {
		for deadline := time.Now().Add(expiresWithin); !isGone(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				return false, nil
			}
		}
		return true, nil
	})
}

// Serves a client until the end of the input.
func run(client string, connect func(service string, addresses []string, name string) cache) {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "version, or SERVICE ADDRESS,… NAME")
		os.Exit(2)
	}
	say(map[string]interface{}{"client": client, "version": version})
	if os.Args[1] == "version" {
		return
	}
	cache := connect(os.Args[1], strings.Split(os.Args[2], ","), os.Args[3])
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		words := strings.Fields(input.Text())
		if words[0] == "check" {
			cache.check(words[1])
			say(map[string]interface{}{"done": true})
			continue
		}
		var err error
		answer := map[string]interface{}{"ok": true}
		switch words[0] {
		case "get":
			var value *string
			value, err = cache.get(words[1])
			answer = map[string]interface{}{"values": []*string{value}}
		case "many":
			var values []*string
			values, err = cache.many(words[1:])
			answer = map[string]interface{}{"values": values}
		case "set":
			err = cache.set(words[1], words[2])
		case "delete":
			err = cache.delete(words[1])
		}
		if err != nil {
			answer = map[string]interface{}{"error": err.Error()}
		}
		say(answer)
	}
}
