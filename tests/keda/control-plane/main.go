// Command control-plane is the part of Kubernetes that the tests need, in one binary: linked together, its
// programs share most of their code. The first argument says which of them it is to be.
package main

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	if len(os.Args) < 2 {
		fail("usage: control-plane etcd|kube-apiserver|kube-controller-manager|api-proxy [argument…]")
	}
	os.Args = os.Args[1:]
	switch os.Args[0] {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		run(apiserver.NewAPIServerCommand())
	case "kube-controller-manager":
		run(controllers.NewControllerManagerCommand())
	case "api-proxy":
		fail(proxy(os.Args[1:]))
	default:
		fail("no program named " + os.Args[0])
	}
}

func run(command *cobra.Command) {
	os.Exit(cli.Run(command))
}

// proxy offers the API server without TLS and with the rights of a kubeconfig, so that the tests need
// neither. It listens inside the tests' own network namespace only.
func proxy(arguments []string) error {
	if len(arguments) != 2 {
		return fmt.Errorf("usage: api-proxy KUBECONFIG ADDRESS")
	}
	config, err := clientcmd.BuildConfigFromFlags("", arguments[0])
	if err != nil {
		return err
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return err
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		return err
	}
	handler := httputil.NewSingleHostReverseProxy(target)
	handler.Transport = transport
	return http.ListenAndServe(arguments[1], handler)
}

func fail(message any) {
	fmt.Fprintln(os.Stderr, message)
	os.Exit(2)
}
