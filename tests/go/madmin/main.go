// Seals and opens with MinIO's published packages, one JSON line on stdin to one on stdout:
//
//	{"op":"seal"|"open","algorithm":0|1|2,"secret":"…","data":"<base64>"} -> {"data":"<base64>"} | {"error":"…"}
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/minio/madmin-go/v3"
	"github.com/secure-io/sio-go"
	"github.com/secure-io/sio-go/sioutil"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/pbkdf2"
)

// The algorithms, as madmin's encrypt.go numbers them (they are not exported).
const (
	argon2idAESGCM           = 0
	argon2idChaCha20Poly1305 = 1
	pbkdf2AESGCM             = 2
)

type request struct {
	Op        string `json:"op"`
	Algorithm byte   `json:"algorithm"`
	Secret    string `json:"secret"`
	Data      []byte `json:"data"`
}

type answer struct {
	// A pointer, because no bytes at all are an answer too.
	Data  *[]byte `json:"data,omitempty"`
	Error string  `json:"error,omitempty"`
}

func main() {
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(in io.Reader, out io.Writer) error {
	lines, answers := bufio.NewReader(in), json.NewEncoder(out)
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			if err := answers.Encode(handle(line)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func handle(line []byte) answer {
	var asked request
	if err := json.Unmarshal(line, &asked); err != nil {
		return answer{Error: err.Error()}
	}
	var (
		data []byte
		err  error
	)
	switch asked.Op {
	case "seal":
		data, err = seal(asked.Algorithm, asked.Secret, asked.Data)
	case "open":
		data, err = madmin.DecryptData(asked.Secret, bytes.NewReader(asked.Data))
	default:
		err = fmt.Errorf("unknown op %q", asked.Op)
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	if data == nil {
		data = []byte{}
	}
	return answer{Data: &data}
}

func seal(algorithm byte, secret string, data []byte) ([]byte, error) {
	if algorithm == chosenByMadmin() {
		sealed, err := madmin.EncryptData(secret, data)
		if err == nil && sealed[32] != algorithm {
			err = fmt.Errorf("madmin sealed with algorithm %d, not with %d", sealed[32], algorithm)
		}
		return sealed, err
	}

	salt := sioutil.MustRandom(32)
	var (
		stream *sio.Stream
		err    error
	)
	switch algorithm {
	case argon2idAESGCM:
		stream, err = sio.AES_256_GCM.Stream(argon2.IDKey([]byte(secret), salt, 1, 64*1024, 4, 32))
	case argon2idChaCha20Poly1305:
		stream, err = sio.ChaCha20Poly1305.Stream(argon2.IDKey([]byte(secret), salt, 1, 64*1024, 4, 32))
	case pbkdf2AESGCM:
		stream, err = sio.AES_256_GCM.Stream(pbkdf2.Key([]byte(secret), salt, 8192, 32, sha256.New))
	default:
		err = fmt.Errorf("unknown algorithm %d", algorithm)
	}
	if err != nil {
		return nil, err
	}

	nonce := sioutil.MustRandom(stream.NonceSize())
	var sealed bytes.Buffer
	sealed.Write(salt)
	sealed.WriteByte(algorithm)
	sealed.Write(nonce)
	w := stream.EncryptWriter(&sealed, nonce, nil)
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return sealed.Bytes(), nil
}

// chosenByMadmin is what madmin.EncryptData takes on this machine.
func chosenByMadmin() byte {
	switch {
	case madmin.FIPSEnabled():
		return pbkdf2AESGCM
	case sioutil.NativeAES():
		return argon2idAESGCM
	default:
		return argon2idChaCha20Poly1305
	}
}
